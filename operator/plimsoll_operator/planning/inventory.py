"""From nodes, as Kubernetes lists them, to the pools of equal accelerators that can be planned on.

A GPU node counts by its labels of GPU feature discovery and its allocatable `nvidia.com/gpu`; a
schedulable node without GPUs counts as `cpu` by its allocatable cores and memory. Where several
pods share each GPU, `nvidia.com/gpu` counts their shares, and the pool says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from plimsoll_operator.api.quantity import parse_quantity
from plimsoll_planner.inputs import AcceleratorPool

GPU_RESOURCE = "nvidia.com/gpu"
GPU_TAINT = "nvidia.com/gpu"
PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"
REPLICAS_LABEL = "nvidia.com/gpu.replicas"
SHARED_SUFFIX = "-SHARED"
PRICE_ANNOTATION = "plimsoll.dev/price-per-hour"
CPU = "cpu"
_REPELLING_EFFECTS = ("NoSchedule", "NoExecute")

Usage = Mapping[str, Mapping[str, Decimal]]
"""By node name, how much of each resource (`cpu` in cores, `memory` in bytes, `nvidia.com/gpu`) is
taken by pods that the plan may not displace."""


def pools_from_nodes(
    nodes: Iterable[Mapping[str, Any]], used: Usage | None = None
) -> tuple[AcceleratorPool, ...]:
    """Pools of equal nodes in a stable order; nodes that take no new pods are left out.

    Left out are cordoned and not-ready nodes, nodes with a taint that engine pods do not tolerate,
    and GPU nodes without a product label. `used` is subtracted from what a node can allocate.
    """
    counted: Counter[AcceleratorPool] = Counter()
    for node in nodes:
        taken = (used or {}).get(str(_mapping(node, "metadata").get("name", "")), {})
        pool = _pool(node, taken)
        if pool is not None:
            counted[pool] += 1
    pools = [replace(pool, nodes=nodes_alike) for pool, nodes_alike in counted.items()]
    return tuple(sorted(pools, key=_order))


def _pool(node: Mapping[str, Any], taken: Mapping[str, Decimal]) -> AcceleratorPool | None:
    allocatable = _mapping(_mapping(node, "status"), "allocatable")
    gpus = int(_free(allocatable, taken, GPU_RESOURCE))
    has_gpu = GPU_RESOURCE in allocatable and _free(allocatable, {}, GPU_RESOURCE) > 0
    if not _accepts_pods(node, tolerates_gpu_taint=has_gpu):
        return None
    metadata = _mapping(node, "metadata")
    labels = _mapping(metadata, "labels")
    price = _price(_mapping(metadata, "annotations").get(PRICE_ANNOTATION))
    if has_gpu:
        product = labels.get(PRODUCT_LABEL)
        if not product or gpus < 1:
            return None
        memory_bytes = _gpu_memory(labels)
        return AcceleratorPool(str(product), gpus, 1, memory_bytes, price, _is_shared(labels))
    cores = int(_free(allocatable, taken, "cpu"))
    memory = int(_free(allocatable, taken, "memory"))
    if cores < 1 or memory < 1:
        return None
    return AcceleratorPool(CPU, cores, 1, memory, price)


def _accepts_pods(node: Mapping[str, Any], *, tolerates_gpu_taint: bool) -> bool:
    spec = _mapping(node, "spec")
    if spec.get("unschedulable"):
        return False
    for condition in _mapping(node, "status").get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return False
    return all(
        taint.get("effect") not in _REPELLING_EFFECTS
        or (tolerates_gpu_taint and taint.get("key") == GPU_TAINT)
        for taint in spec.get("taints") or ()
    )


def _free(allocatable: Mapping[str, Any], taken: Mapping[str, Decimal], resource: str) -> Decimal:
    try:
        whole = parse_quantity(allocatable.get(resource, 0))
    except ValueError:
        return Decimal(0)
    return max(Decimal(0), whole - taken.get(resource, Decimal(0)))


def _is_shared(labels: Mapping[str, Any]) -> bool:
    """Whether the device plugin hands each GPU to several pods, by time-slicing or MPS.

    Feature discovery says so in one of three ways, by its version and the plugin's configuration.
    """
    replicas = str(labels.get(REPLICAS_LABEL, ""))
    return (
        labels.get(SHARING_LABEL, "none") != "none"
        or str(labels.get(PRODUCT_LABEL, "")).endswith(SHARED_SUFFIX)
        or (replicas.isdigit() and int(replicas) > 1)
    )


def _gpu_memory(labels: Mapping[str, Any]) -> int | None:
    text = str(labels.get(MEMORY_LABEL, ""))
    return int(text) * 2**20 if text.isdigit() and int(text) > 0 else None


def _price(text: object) -> float | None:
    if text is None:
        return None
    try:
        return float(parse_quantity(str(text)))
    except ValueError:
        return None


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _order(pool: AcceleratorPool) -> tuple[str, int, int, float, bool]:
    price = -1.0 if pool.price_per_hour is None else pool.price_per_hour
    return (pool.accelerator, -pool.count, -(pool.memory_bytes or 0), price, pool.shared)
