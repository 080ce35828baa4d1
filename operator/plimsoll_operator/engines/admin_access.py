"""Tells the engines of each namespace whom to let into their admin port: this operator."""

import asyncio
import logging
from typing import Any

from plimsoll_operator import metrics
from plimsoll_operator.difference import difference
from plimsoll_operator.engines.engine_token import EngineToken
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import CONFIG_MAP
from plimsoll_operator.kube.store import Store
from plimsoll_operator.render.admin_trust import NAME, admin_trust

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 300.0
"""The API server publishes a key well before it signs with it."""
RETRY_SECONDS = 15.0


class AdminAccess:
    """Writes the ConfigMap of every namespace with LLMDeployments that lacks it or differs."""

    def __init__(self, store: Store, cluster: Cluster, token: EngineToken) -> None:
        self._store = store
        self._cluster = cluster
        self._token = token
        self._told: set[str] = set()
        self._news = asyncio.Event()

    def see(self, namespace: str, *, gone: bool) -> None:
        """Takes note of an LLMDeployment in a namespace.

        Where one has gone, the whole namespace may have, and come back without what was written.
        """
        if gone:
            self._told.discard(namespace)
        elif namespace not in self._told:
            self._news.set()

    async def run(self) -> None:
        """Tells new namespaces at once, and all of them every AGAIN_SECONDS; never ends."""
        while True:
            try:
                await self.tell()
            except ClusterError as error:
                logger.warning("engines not told of keys", extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                self._told.clear()

    async def tell(self) -> None:
        """Writes what differs in namespaces not told yet. Raises ClusterError."""
        self._news.clear()
        identity = self._token.identity()
        namespaces = {namespace for namespace, _ in self._store.resource_keys()} - self._told
        if identity is None or not namespaces:
            return
        keys = await self._cluster.token_keys()
        failure: ClusterError | None = None
        for namespace in sorted(namespaces):
            try:
                await self._write(admin_trust(namespace, identity, keys))
                self._told.add(namespace)
            except ClusterError as error:  # as one that is on its way out
                failure = failure or error
        if failure is not None:
            raise failure

    async def _write(self, wanted: dict[str, Any]) -> None:
        namespace = wanted["metadata"]["namespace"]
        found = await self._cluster.get(CONFIG_MAP, namespace, NAME)
        if found is not None and difference(wanted, found) is None:
            return
        await self._cluster.apply(wanted)
        metrics.WRITES.labels(kind=CONFIG_MAP.name, verb="apply").inc()
        logger.info("applied ConfigMap", extra={"resource": namespace, "child": NAME})
