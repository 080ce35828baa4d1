"""Carries out what `reconcile` decided, and lets the store know at once."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from plimsoll_operator import metrics
from plimsoll_operator.actions import Action, Apply, Renumber
from plimsoll_operator.api import API_VERSION, KIND
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import BY_NAME, EVENT, RESOURCE
from plimsoll_operator.kube.refusal import Refusal
from plimsoll_operator.kube.store import Store
from plimsoll_operator.resource import Resource
from plimsoll_operator.rollouts.failure_backoff import Setbacks
from plimsoll_operator.status.events import Event

logger = logging.getLogger(__name__)

CONTROLLER = "plimsoll.dev/operator"
_DONE = {"apply": "applied", "delete": "deleted", "renumber": "renumbered"}
REFUSED_BASE_SECONDS = 1.0
REFUSED_LIMIT_SECONDS = 60.0
TOLD_SECONDS = 600.0
"""For which the same event of the same generation is not posted again, as where a pod's readiness
comes and goes: each would be an object of its own for an hour."""


@dataclass(frozen=True)
class Done:
    """What became of actions: whether any `changed` something, and the `refusals` of the others.

    `retry_after` is in seconds; `failure` is one that may pass by itself, for the caller to raise.
    """

    changed: bool = False
    refusals: tuple[Refusal, ...] = ()
    retry_after: float | None = None
    failure: ClusterError | None = None


class Actuator:
    """Writes to the API server."""

    def __init__(self, cluster: Cluster, store: Store, instance: str) -> None:
        self._cluster = cluster
        self._store = store
        self._instance = instance
        self._refused: Setbacks[Refusal] = Setbacks(REFUSED_BASE_SECONDS, REFUSED_LIMIT_SECONDS)
        self._told: dict[str, dict[tuple[int, Event], float]] = {}

    async def carry_out(self, resource: Resource, actions: tuple[Action, ...]) -> Done:
        """Tries each action, whatever became of those before it.

        One that the API server has refused for good is not sent again, as long as it is the same,
        until it is due.
        """
        now = monotonic()
        refusals: list[Refusal] = []
        due: list[float] = []
        failure: ClusterError | None = None
        for action in actions:
            question = (resource.generation, action)
            known = self._refused.get(resource.uid, action.key, question)
            if known is not None and known.due > now:
                refusals.append(known.answer)
                due.append(known.due)
                continue
            try:
                await self._act(resource, action)
            except ClusterError as error:
                lasting = not error.transient
                refusal = Refusal(action, error.status, error.reason, error.message, lasting)
                if error.transient:
                    failure = failure or error
                    refusals.append(refusal if known is None else known.answer)
                    continue
                note = self._refused.record(resource.uid, action.key, question, refusal, now)
                refusals.append(refusal)
                due.append(note.due)
                metrics.REFUSALS.labels(kind=action.key[0], code=str(error.status)).inc()
                logger.log(
                    logging.WARNING if known is None else logging.INFO,
                    "refused",
                    extra={
                        "resource": "/".join(resource.key),
                        "error": str(refusal),
                        "delay": note.due - now,
                    },
                )
            else:
                self._refused.clear(resource.uid, action.key)
        return Done(
            changed=len(refusals) < len(actions),
            refusals=tuple(refusals),
            retry_after=min(due) - now if due else None,
            failure=failure,
        )

    def forget(self, uid: str) -> None:
        """Drops what was refused to a resource that is gone, and told of it."""
        self._refused.forget(uid)
        self._told.pop(uid, None)

    async def _act(self, resource: Resource, action: Action) -> None:
        kind, name = action.key
        if isinstance(action, Apply):
            verb, because = "apply", action.because or "new"
            self._store.put(kind, await self._cluster.apply(action.child))
        elif isinstance(action, Renumber):
            adopted = action.owner is not None
            because = "left without an owner" if adopted else "in force again"
            verb, because = "renumber", f"{because}, now number {action.number}"
            renumbered = await self._cluster.renumber(
                BY_NAME[kind],
                resource.namespace,
                name,
                action.uid,
                action.number,
                owner=action.owner,
            )
            self._store.put(kind, renumbered)
        else:
            verb, because = "delete", "no longer wanted"
            await self._cluster.delete(BY_NAME[kind], resource.namespace, name, action.uid)
        metrics.WRITES.labels(kind=kind, verb=verb).inc()
        logger.info(
            "%s %s",
            _DONE[verb],
            kind,
            extra={"resource": "/".join(resource.key), "child": name, "because": because},
        )

    async def scale(self, raw: Mapping[str, Any], replicas: int) -> None:
        """Writes spec.replicas of a resource that has none. Raises ClusterError."""
        await self._cluster.scale(RESOURCE, raw, replicas)
        metrics.WRITES.labels(kind=RESOURCE.name, verb="scale").inc()

    async def write_status(self, raw: Mapping[str, Any], status: dict[str, Any]) -> bool:
        """Writes a status. Returns False where the object is gone meanwhile, which is no error.

        Raises ClusterError.
        """
        try:
            written = await self._cluster.apply_status(RESOURCE, raw, status)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        metrics.WRITES.labels(kind=RESOURCE.name, verb="status").inc()
        self._store.put(RESOURCE.name, written)
        return True

    async def tell(self, raw: Mapping[str, Any], event: Event) -> None:
        """Posts an event about a resource, unless it was posted lately; losing one is logged and
        nothing worse."""
        metadata = raw["metadata"]
        uid, said = str(metadata["uid"]), (int(metadata.get("generation", 0)), event)
        if said in self._lately(uid):
            return
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
                "uid": uid,
            },
        }
        resource = f"{metadata['namespace']}/{metadata['name']}"
        logger.info(event.message, extra={"resource": resource, "reason": event.reason})
        try:
            await self._cluster.create(EVENT, metadata["namespace"], body)
        except ClusterError as error:
            logger.warning("event lost", extra={"resource": resource, "error": str(error)})
            return
        self._told.setdefault(uid, {})[said] = monotonic()
        metrics.WRITES.labels(kind="Event", verb="create").inc()

    def _lately(self, uid: str) -> dict[tuple[int, Event], float]:
        """What was told of a resource, by generation, and when; without what is long ago."""
        now, told = monotonic(), self._told.pop(uid, {})
        recent = {each: at for each, at in told.items() if now - at < TOLD_SECONDS}
        if recent:
            self._told[uid] = recent
        return recent
