"""ConfigMaps that specs name, read live: they are not watched."""

from collections.abc import Mapping
from typing import Any

from plimsoll_operator.kube.api_server import Cluster
from plimsoll_operator.kube.kinds import CONFIG_MAP


class ConfigMaps:
    """Each answers None where there is none, and raises ClusterError."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def text(self, namespace: str, name: str, key: str) -> str | None:
        """What it has under a key."""
        found = await self.data(namespace, name)
        text = None if found is None else found[1].get(key)
        return None if text is None else str(text)

    async def version(self, namespace: str, name: str) -> str | None:
        """Its version, without its content."""
        return await self._cluster.version(CONFIG_MAP, namespace, name)

    async def data(self, namespace: str, name: str) -> tuple[str, Mapping[str, Any]] | None:
        """Its version, and all its keys."""
        found = await self._cluster.get(CONFIG_MAP, namespace, name)
        if found is None:
            return None
        return str(found["metadata"]["resourceVersion"]), found.get("data") or {}
