"""The way to the API server: HTTP connections, signed in as the kubeconfig or the pod says.

The only module with the Kubernetes client, which finds the API server and renews credentials.
Requests go through aiohttp on the event loop: that client blocks a thread for each, and handing
work over to threads and back costs as much again as the request.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import aiohttp
import yarl
from kubernetes import config as _config
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import should_bypass_proxies

SILENCE_SECONDS = 15.0
"""How long the API server may take to be connected with, and say nothing in an answer."""
KEPT_SECONDS = 60.0
"""For which an idle connection is kept; kube-apiserver ends it after 90."""
RENEW_SECONDS = 10.0
"""How often it is asked whether credentials are to be renewed: those of a pod a minute before they
have to be, those of a program five."""
_TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)
config = cast("Any", _config)  # untyped


class UnreachableError(Exception):
    """There is no way to a cluster, or no answer from it."""


class Connection:
    """At most `connections` of them, kept open. For one event loop, the first that asks."""

    def __init__(self, configuration: Configuration, connections: int = 1) -> None:
        self._configuration = configuration
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._renewal = asyncio.Lock()
        self._renew_at = float("-inf")
        self._credentials: dict[str, str] = {}

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        """Status and body of the answer, tried once. `target` is an encoded path with its query.

        Raises UnreachableError.
        """
        session = self._open()
        try:
            async with session.request(
                method,
                yarl.URL(self._configuration.host + target, encoded=True),
                headers={**headers, **await self._signed_in()},
                data=body,
                allow_redirects=False,
                proxy=_proxy(self._configuration),
                proxy_headers=self._configuration.proxy_headers,
                server_hostname=self._configuration.tls_server_name or None,
            ) as answer:
                return answer.status, await answer.read()
        except _ERRORS as error:
            raise UnreachableError(str(error) or repr(error)) from error

    async def close(self) -> None:
        """Drops connections; calls in flight end with an error."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=_trust(self._configuration),
                    limit=self._connections,
                    keepalive_timeout=KEPT_SECONDS,
                ),
                # To compress what is long would cost the API server more than sending it.
                headers={"User-Agent": "plimsoll-operator", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS
                ),
            )
        return self._session

    async def _signed_in(self) -> Mapping[str, str]:
        clock = asyncio.get_running_loop().time
        async with self._renewal:
            if clock() >= self._renew_at:
                # It may read a file, or run the program that a kubeconfig names.
                self._credentials = await asyncio.to_thread(self._renewed)
                self._renew_at = clock() + RENEW_SECONDS
        return self._credentials

    def _renewed(self) -> dict[str, str]:
        try:
            settings = cast("Any", self._configuration).auth_settings().values()
        except config.ConfigException as error:
            raise UnreachableError(f"cannot sign in: {error}") from error
        return {
            str(setting["key"]): str(setting["value"])
            for setting in settings
            if setting["in"] == "header" and setting["value"]
        }


def connect(connections: int, context: str | None = None) -> Connection:
    """As the pod's ServiceAccount inside a cluster, else as the kubeconfig says in `context`.

    Raises UnreachableError where there is neither.
    """
    configuration = Configuration()
    try:
        if _TOKEN_FILE.is_file() and context is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(context=context, client_configuration=configuration)
    except config.ConfigException as error:
        why = str(error).rstrip(".")
        message = f"no way to a cluster: {why}; name a kubeconfig file in KUBECONFIG"
        raise UnreachableError(message) from error
    return Connection(configuration, connections)


def default_namespace(context: str | None = None) -> str:
    """As `Cluster.default_namespace`."""
    try:
        contexts, current = config.list_kube_config_contexts()
    except config.ConfigException:
        return "default"
    named = [item for item in contexts if item["name"] == context]
    chosen = named[0] if named else current
    return str(chosen["context"].get("namespace") or "default")


def _trust(configuration: Configuration) -> ssl.SSLContext | bool:
    """Whom to take for the API server, and the client certificate to show it, if there is one."""
    if not configuration.host.startswith("https:"):
        return True
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def _proxy(configuration: Configuration) -> str | None:
    proxy, without = configuration.proxy, configuration.no_proxy or ""
    if not proxy or should_bypass_proxies(configuration.host, without):
        return None
    return str(proxy)
