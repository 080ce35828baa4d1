"""The way to the API server, against real servers on loopback: whom it trusts, as whom it signs in,
and what it makes of silence and of connections that end."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.client.configuration import Configuration

from plimsoll_operator.kube import connection
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.connection import Connection, UnreachableError
from plimsoll_operator.kube.kinds import RESOURCE
from tests.unit.certificates import pair

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers everything by a handler; returns its URL."""
    runners = []

    async def start(handler: Handler, context: ssl.SSLContext | None = None) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def to(host: str, **settings: Any) -> Connection:
    configuration = Configuration()
    configuration.host = host
    for name, value in settings.items():
        setattr(configuration, name, value)
    return Connection(configuration)


async def get(way: Connection) -> tuple[int, bytes]:
    try:
        return await way.ask("GET", "/version", {}, None)
    finally:
        await way.close()


async def hello(request: web.Request) -> web.Response:
    return web.json_response({key.lower(): value for key, value in request.headers.items()})


def written(folder: Path, name: str, serial: int) -> tuple[str, str]:
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    for path, content in zip(paths, pair(serial), strict=True):
        path.write_bytes(content)
    return str(paths[0]), str(paths[1])


async def test_only_the_authority_of_the_configuration_is_trusted(
    serve: Serve, tmp_path: Path
) -> None:
    ours, theirs = written(tmp_path, "ours", 1), written(tmp_path, "theirs", 2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours)
    url = await serve(hello, context)
    assert (await get(to(url, ssl_ca_cert=ours[0])))[0] == 200
    for settings in ({"ssl_ca_cert": theirs[0]}, {}):
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            await get(to(url, **settings))
    assert (await get(to(url, verify_ssl=False)))[0] == 200
    # The certificate is for an address; a name that the kubeconfig says to expect is not in it.
    with pytest.raises(UnreachableError, match="example"):
        await get(to(url, ssl_ca_cert=ours[0], tls_server_name="api.example"))


async def test_a_client_certificate_is_shown(serve: Serve, tmp_path: Path) -> None:
    server, client = written(tmp_path, "server", 1), written(tmp_path, "client", 2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    context.load_verify_locations(client[0])
    context.verify_mode = ssl.CERT_REQUIRED
    url = await serve(hello, context)
    shown = to(url, ssl_ca_cert=server[0], cert_file=client[0], key_file=client[1])
    assert (await get(shown))[0] == 200
    with pytest.raises(UnreachableError):
        await get(to(url, ssl_ca_cert=server[0]))


async def test_a_token_is_read_again_and_used_from_then_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RENEW_SECONDS", 0.0)
    tokens = iter(("bearer one", "bearer two"))

    def refresh(configuration: Configuration) -> None:
        configuration.api_key["BearerToken"] = next(tokens)

    settings = {"api_key": {"BearerToken": "old"}, "refresh_api_key_hook": refresh}
    way = to(await serve(hello), **settings)
    seen = [json.loads((await way.ask("GET", "/", {}, None))[1]) for _ in range(2)]
    await way.close()
    assert [headers["authorization"] for headers in seen] == ["bearer one", "bearer two"]
    assert {headers["accept-encoding"] for headers in seen} == {"identity"}


async def test_many_calls_at_once_renew_credentials_once(serve: Serve) -> None:
    asked = []

    def refresh(configuration: Configuration) -> None:
        asked.append(configuration)

    way = to(await serve(hello), api_key={"BearerToken": "t"}, refresh_api_key_hook=refresh)
    await asyncio.gather(*(way.ask("GET", "/", {}, None) for _ in range(5)))
    await way.close()
    assert len(asked) == 1


async def test_credentials_that_cannot_be_renewed_are_said(serve: Serve) -> None:
    def refresh(_: Configuration) -> None:
        raise connection.config.ConfigException("Token file exists but empty.")

    way = to(await serve(hello), api_key={"BearerToken": "t"}, refresh_api_key_hook=refresh)
    with pytest.raises(UnreachableError, match="cannot sign in: Token file exists but empty"):
        await get(way)


async def test_silence_ends_a_call_and_a_slow_answer_does_not(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.2)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(4):  # longer than the silence in all, and never silent for so long
            await response.write(b" ")
            await asyncio.sleep(0.08)
        if request.path == "/silent":
            await asyncio.sleep(1)
        await response.write(b"{}")
        return response

    way = to(await serve(answer))
    assert await way.ask("GET", "/slow", {}, None) == (200, b"    {}")
    with pytest.raises(UnreachableError, match="Timeout on reading"):
        await way.ask("GET", "/silent", {}, None)
    await way.close()


async def test_a_write_whose_connection_ends_is_not_sent_again(serve: Serve) -> None:
    writes = []

    async def drop(request: web.Request) -> web.StreamResponse:
        writes.append(await request.read())
        assert request.transport is not None
        if len(writes) > 1:  # the first answer leaves a connection that is used again
            request.transport.abort()
        return web.Response(body=b"{}")

    way = to(await serve(drop))
    assert (await way.ask("PATCH", "/", {}, b"1"))[0] == 200
    with pytest.raises(UnreachableError):
        await way.ask("PATCH", "/", {}, b"2")
    await way.close()
    assert writes == [b"1", b"2"]


async def test_a_server_that_is_not_there_is_a_transient_error_with_the_call() -> None:
    cluster = Cluster(to("http://127.0.0.1:1"))
    with pytest.raises(ClusterError, match=r"GET /apis/.*/llmdeployments/chat: .*127") as e:
        await cluster.get(RESOURCE, "ml", "chat")
    await cluster.close()
    assert e.value.transient


async def test_a_redirect_is_an_answer_and_a_path_in_the_host_is_kept(serve: Serve) -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/other", "X": request.raw_path})

    way = to(await serve(away) + "/k8s/c-1")
    assert await way.ask("GET", "/api?limit=1&labelSelector=a%3Db%2Cc", {}, None) == (302, b"")
    await way.close()


async def test_no_kubeconfig_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="name a kubeconfig file in KUBECONFIG"):
        Cluster.connect(1)
