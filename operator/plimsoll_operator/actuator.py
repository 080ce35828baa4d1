"""Carries out what `reconcile` decided, and lets the store know at once."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from plimsoll_operator import metrics
from plimsoll_operator.api import API_VERSION, KIND
from plimsoll_operator.cluster import Cluster, ClusterError
from plimsoll_operator.events import Event
from plimsoll_operator.kinds import BY_NAME, EVENT, RESOURCE
from plimsoll_operator.reconcile import Action, Apply
from plimsoll_operator.render.children import key_of
from plimsoll_operator.store import Store

logger = logging.getLogger(__name__)

CONTROLLER = "plimsoll.dev/operator"


class Actuator:
    """Writes to the API server."""

    def __init__(self, cluster: Cluster, store: Store, instance: str) -> None:
        self._cluster = cluster
        self._store = store
        self._instance = instance

    async def act(self, namespace: str, owner: str, action: Action) -> None:
        """Applies or deletes one child. Raises ClusterError."""
        if isinstance(action, Apply):
            kind, name = key_of(action.child)
            written = await self._cluster.apply(action.child)
            self._store.put(kind, written)
        else:
            kind, name = action.key
            await self._cluster.delete(BY_NAME[kind], namespace, name, action.uid)
        verb = "apply" if isinstance(action, Apply) else "delete"
        metrics.WRITES.labels(kind=kind, verb=verb).inc()
        because = action.because if isinstance(action, Apply) else "no longer wanted"
        logger.info(
            "%s %s",
            "applied" if verb == "apply" else "deleted",
            kind,
            extra={"resource": f"{namespace}/{owner}", "child": name, "because": because or "new"},
        )

    async def scale(self, raw: Mapping[str, Any], replicas: int) -> None:
        """Writes spec.replicas of a resource that has none. Raises ClusterError."""
        await self._cluster.scale(RESOURCE, raw, replicas)
        metrics.WRITES.labels(kind=RESOURCE.name, verb="scale").inc()

    async def write_status(self, raw: Mapping[str, Any], status: dict[str, Any]) -> None:
        """Writes a status; an object that is gone meanwhile is no error. Raises ClusterError."""
        try:
            written = await self._cluster.apply_status(RESOURCE, raw, status)
        except ClusterError as error:
            if error.status == 404:
                return
            raise
        metrics.WRITES.labels(kind=RESOURCE.name, verb="status").inc()
        self._store.put(RESOURCE.name, written)

    async def tell(self, raw: Mapping[str, Any], event: Event) -> None:
        """Posts an event about a resource; losing one is logged and nothing worse."""
        metadata = raw["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body: dict[str, Any] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "namespace": metadata["namespace"],
            },
            "eventTime": now,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "type": event.type,
            "reason": event.reason,
            "action": event.action,
            "note": event.message[:1024],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        }
        resource = f"{metadata['namespace']}/{metadata['name']}"
        logger.info(event.message, extra={"resource": resource, "reason": event.reason})
        try:
            await self._cluster.create(EVENT, metadata["namespace"], body)
        except ClusterError as error:
            logger.warning("event lost", extra={"resource": resource, "error": str(error)})
            return
        metrics.WRITES.labels(kind="Event", verb="create").inc()
