"""Reads the traces that specs name. ConfigMaps are not watched, as that would take the right to
read all of them: of one that is named the version is asked for, and its content when that is new.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from plimsoll_operator.api.workload import TraceKeyRef, TraceSource
from plimsoll_operator.resource import Resource
from plimsoll_operator.traces.named_trace import named_trace
from plimsoll_operator.traces.trouble import NamedTraceError
from plimsoll_planner.simulation.recorded_trace import RecordedTrace

ASK_SECONDS = 45.0
"""How long an answer counts: less than the time between two looks without cause."""

VersionReader = Callable[[str, str], Awaitable[str | None]]
"""From namespace and name to the version of a ConfigMap, None where there is none."""
ContentReader = Callable[[str, str], Awaitable[tuple[str, Mapping[str, Any]] | None]]
"""The same to its version and data."""


@dataclass(frozen=True)
class _Known:
    """What a ConfigMap was found to hold: the hash of a trace, or why there is none."""

    reference: TraceKeyRef
    version: str | None
    digest: str
    error: NamedTraceError | None
    asked: float


class TraceReader:
    """Remembers of each resource the hash of its trace; the requests only as long as they are
    planned for."""

    def __init__(self, version: VersionReader, content: ContentReader) -> None:
        self._version = version
        self._content = content
        self._known: dict[str, _Known] = {}

    async def digest(self, resource: Resource, source: TraceSource) -> str:
        """The hash of what is there now, or was less than ASK_SECONDS ago.

        Raises NamedTraceError, and ClusterError.
        """
        reference = source.config_map_key_ref
        known = self._known.get(resource.uid)
        now = monotonic()
        if known is not None and known.reference == reference:
            fresh = known.error is None and now - known.asked < ASK_SECONDS
            if not fresh:
                version = await self._version(resource.namespace, reference.name)
                fresh = version == known.version
                if fresh:
                    self._known[resource.uid] = _Known(
                        reference, version, known.digest, known.error, now
                    )
            if fresh:
                if known.error is not None:
                    # A new one, since each raise of the same would lengthen its traceback.
                    raise NamedTraceError(known.error.reason, str(known.error))
                return known.digest
        return (await self.read(resource, source)).digest

    async def read(self, resource: Resource, source: TraceSource) -> RecordedTrace:
        """The trace as it is now. Raises NamedTraceError, and ClusterError."""
        reference, namespace = source.config_map_key_ref, resource.namespace
        found = await self._content(namespace, reference.name)
        version, data = (None, None) if found is None else found
        now = monotonic()
        try:
            trace = await asyncio.to_thread(named_trace, data, reference, namespace)
        except NamedTraceError as error:
            self._known[resource.uid] = _Known(reference, version, "", error, now)
            raise
        self._known[resource.uid] = _Known(reference, version, trace.digest, None, now)
        return trace

    def forget(self, uid: str) -> None:
        """Drops what was noted of a resource that is gone."""
        self._known.pop(uid, None)
