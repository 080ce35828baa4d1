"""The cluster's Accelerator resources: each is told whether plans use it."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from plimsoll_operator import metrics
from plimsoll_operator.api.accelerator import AcceleratorStatus
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import ACCELERATOR
from plimsoll_operator.kube.store import Store
from plimsoll_operator.planning.accelerators import Verdict, verdicts
from plimsoll_operator.status.conditions import Finding, set_condition

ACCEPTED = "Accepted"


def status_of(verdict: Verdict, raw: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The status that an Accelerator should have; what it has counts for transition times."""
    generation = int(raw["metadata"].get("generation", 0))
    accepted = verdict.accelerator is not None
    try:
        before = AcceleratorStatus.model_validate(raw.get("status") or {}).conditions
    except ValidationError:
        before = []
    finding = Finding(ACCEPTED, accepted, verdict.reason, verdict.message)
    status = AcceleratorStatus(
        observed_generation=generation,
        product=verdict.product,
        conditions=set_condition(before, finding, generation, now),
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


class Accelerators:
    """Writes the statuses; one that is as it should be is not written again."""

    def __init__(self, store: Store, cluster: Cluster, now: Callable[[], str]) -> None:
        self._store = store
        self._cluster = cluster
        self._now = now

    async def tell(self) -> None:
        """Writes what differs; one that is gone meanwhile is no error. Raises ClusterError."""
        for verdict in verdicts(self._store.all(ACCELERATOR.name)):
            raw = self._store.get(ACCELERATOR.name, "", verdict.name)
            if raw is None:
                continue
            status = status_of(verdict, raw, self._now())
            if status == raw.get("status"):
                continue
            try:
                written = await self._cluster.apply_status(ACCELERATOR, raw, status)
            except ClusterError as error:
                if error.status == 404:
                    continue
                raise
            metrics.WRITES.labels(kind=ACCELERATOR.name, verb="status").inc()
            self._store.put(ACCELERATOR.name, written)
