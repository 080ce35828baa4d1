"""Reads what pods of everybody take of the nodes where a replica might fit, if none has room.

Nobody else's pods are watched, and this is asked only while a replica finds no room: of few nodes,
and of each once a minute for all resources together.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import NODE, pods_on
from plimsoll_operator.kube.store import Store
from plimsoll_operator.observed import Observed
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.pod_trouble import no_room
from plimsoll_operator.status.shortage import (
    Amounts,
    Room,
    asked_by,
    describe,
    nearest_first,
    rooms,
    taken_by,
)

MOST_NODES = 8
"""That are asked about for one resource; beyond, which of them is nearest hardly matters."""
FRESH_SECONDS = 60.0
MOST_READS = 32
"""Within FRESH_SECONDS, whatever does not fit."""


class RoomReader:
    """Answers from what it read in the last minute, as far as that goes."""

    def __init__(
        self, store: Store, cluster: Cluster, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._cluster, self._clock = store, cluster, clock
        self._taken: dict[str, tuple[float, Amounts | None]] = {}
        self._reading = asyncio.Lock()

    async def shortage(self, resource: Resource, observed: Observed, revision: str | None) -> str:
        """What the nearest node is short of for pods of the plan `revision`; empty where they wait
        for something else than room."""
        deployment = observed.children.get(("Deployment", resource.name))
        if deployment is None or not no_room(observed.pods, revision):
            return ""
        spec = deployment["spec"]["template"]["spec"]
        asked = asked_by(spec)
        found = nearest_first(asked, rooms(spec, self._store.all(NODE.name)))
        async with self._reading:
            near = [await self._with_taken(room) for room in found[:MOST_NODES]]
        return describe(asked, near, len(found))

    async def _with_taken(self, room: Room) -> Room:
        now = self._clock()
        for node, (at, _) in list(self._taken.items()):
            if now - at >= FRESH_SECONDS:
                del self._taken[node]
        if room.node not in self._taken and len(self._taken) < MOST_READS:
            self._taken[room.node] = (now, await self._read(room.node))
        _, taken = self._taken.get(room.node, (now, None))
        return replace(room, taken=taken)

    async def _read(self, node: str) -> Amounts | None:
        try:
            pods, _ = await self._cluster.list(pods_on(node), None, _spec_only)
        except ClusterError:  # it is no more than a word of help
            return None
        return taken_by(pod["spec"] for pod in pods)


def _spec_only(pod: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how much it takes."""
    spec = pod.get("spec") or {}
    kept = ("containers", "initContainers", "resources", "overhead")
    return {"spec": {name: spec[name] for name in kept if name in spec}}
