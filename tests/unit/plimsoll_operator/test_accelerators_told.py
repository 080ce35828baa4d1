"""Every Accelerator is told whether plans use it, once."""

from typing import Any, cast

import pytest

from plimsoll_operator.accelerator_keeper import Accelerators
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import ACCELERATOR
from plimsoll_operator.kube.store import Store
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.samples import LATER, NOW


def put(cluster: MemoryCluster, store: Store, name: str, **spec: Any) -> None:
    before = cluster.objects.get((ACCELERATOR.name, "", name), {})
    generation = before.get("metadata", {}).get("generation", 0) + 1
    metadata = {"name": name, "generation": generation, "creationTimestamp": NOW}
    store.put(ACCELERATOR.name, cluster.put(ACCELERATOR.name, {**before, "metadata": metadata,
              "spec": spec}))  # fmt: skip


def status(cluster: MemoryCluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[ACCELERATOR.name, "", name]["status"]
    return found


async def test_each_is_told_once_and_again_when_it_changes() -> None:
    cluster, store, now = MemoryCluster(), Store(), [NOW]
    teller = Accelerators(store, cast("Cluster", cluster), lambda: now[0])
    put(cluster, store, "h200", products=["H200"], pricePerHour="4.2")
    put(cluster, store, "new", products=["Acme-X1"])
    await teller.tell()
    assert status(cluster, "h200") == {
        "observedGeneration": 1,
        "product": "NVIDIA-H200",
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Overrides",
                "message": "plans use it for NVIDIA-H200",
                "lastTransitionTime": NOW,
                "observedGeneration": 1,
            }
        ],
    }
    (refused,) = status(cluster, "new")["conditions"]
    assert (refused["status"], refused["reason"]) == ("False", "Incomplete")
    assert len(cluster.writes) == 2
    now[0] = LATER
    await teller.tell()
    assert len(cluster.writes) == 2
    put(cluster, store, "new", products=["L4"], pricePerHour="0.8")
    await teller.tell()
    (told,) = status(cluster, "new")["conditions"]
    assert (told["status"], told["lastTransitionTime"]) == ("True", LATER)
    assert told["observedGeneration"] == 2


async def test_one_that_is_gone_is_no_error_and_a_refusal_is() -> None:
    cluster, store = MemoryCluster(), Store()
    teller = Accelerators(store, cast("Cluster", cluster), lambda: NOW)
    put(cluster, store, "h200", products=["H200"])
    cluster.objects.clear()
    await teller.tell()

    def forbid(*_: str) -> None:
        raise ClusterError(403, "Forbidden", "no")

    cluster.admit = forbid
    with pytest.raises(ClusterError, match="no"):
        await teller.tell()
