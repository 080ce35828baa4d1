"""From nodes, as Kubernetes lists them, to the pools of equal accelerators that can be planned on.

A node with accelerators counts by what it has allocatable of them, such as `nvidia.com/gpu`, and by
the labels of what discovers them; of MIG each profile counts apart. A schedulable node without any
counts as `cpu` by its allocatable cores and memory. Where several pods share each GPU,
`nvidia.com/gpu` counts their shares, and the pool says so.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from plimsoll_operator.api.quantity import parse_quantity
from plimsoll_operator.api.template import PodTemplate
from plimsoll_operator.extended_resources import (
    ACCELERATOR_LABEL,
    AMD_GPU,
    GPU,
    MIG_PREFIX,
    is_accelerator,
    product_label,
    taint,
)
from plimsoll_operator.planning.placement import ANYWHERE, Placement, placement
from plimsoll_planner.inputs import AcceleratorPool

SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"
REPLICAS_LABEL = "nvidia.com/gpu.replicas"
SHARED_SUFFIX = "-SHARED"
PRICE_ANNOTATION = "plimsoll.dev/price-per-hour"
CPU = "cpu"
SPOT_LABELS = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-provisioning": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""By what clouds and Karpenter label nodes that may be taken away."""

Usage = Mapping[str, Mapping[str, Decimal]]
"""By node name, how much of each resource (`cpu` in cores, `memory` in bytes, `nvidia.com/gpu`) is
taken by pods that the plan may not displace."""


class Inventory:
    """Nodes as Kubernetes lists them, and pools that somebody stated, which are for every pod."""

    def __init__(
        self, nodes: Iterable[Mapping[str, Any]] = (), stated: Iterable[AcceleratorPool] = ()
    ) -> None:
        self._nodes = tuple(nodes)
        self._stated = tuple(stated)
        self._known: dict[Placement, tuple[AcceleratorPool, ...]] = {}

    def pools(self, placement: Placement = ANYWHERE) -> tuple[AcceleratorPool, ...]:
        """What pods of that placement can be planned on; worked out once for each."""
        if placement not in self._known:
            found = pools_from_nodes(self._nodes, placement=placement)
            self._known[placement] = (*found, *self._stated)
        return self._known[placement]

    def pools_for(self, template: PodTemplate | None) -> tuple[AcceleratorPool, ...]:
        """What pods with that template can be planned on.

        Raises ValueError where there are nodes, and its selector leaves none of them.
        """
        where = placement(template)
        found = self.pools(where)
        if not found and self.pools(replace(where, labels=frozenset())):
            wanted = ", ".join(f"{key}={value}" for key, value in sorted(where.labels))
            raise ValueError(
                f"spec.template.spec.nodeSelector: no usable node is labelled {wanted}: "
                "label nodes so, or change the selector"
            )
        return found


def pools_from_nodes(
    nodes: Iterable[Mapping[str, Any]],
    used: Usage | None = None,
    placement: Placement = ANYWHERE,
) -> tuple[AcceleratorPool, ...]:
    """Pools of equal nodes in a stable order; nodes that take no new pods are left out.

    Left out are cordoned and not-ready nodes, nodes that `placement` does not select or with a
    taint that engine pods do not tolerate, and accelerators that no label names. `used` is
    subtracted from what a node can allocate.
    """
    counted: Counter[AcceleratorPool] = Counter()
    for node in nodes:
        metadata = _mapping(node, "metadata")
        if placement.selects(_mapping(metadata, "labels")):
            taken = (used or {}).get(str(metadata.get("name", "")), {})
            counted.update(_pools(node, taken, placement))
    pools = [replace(pool, nodes=nodes_alike) for pool, nodes_alike in counted.items()]
    return tuple(sorted(pools, key=_order))


def _pools(
    node: Mapping[str, Any], taken: Mapping[str, Decimal], placement: Placement
) -> list[AcceleratorPool]:
    allocatable = _mapping(_mapping(node, "status"), "allocatable")
    resources = sorted(
        name for name in allocatable if is_accelerator(name) and _free(allocatable, {}, name) > 0
    )
    if not resources:
        return _cpu(node, allocatable, taken, placement)
    found = (
        _accelerators(node, name, _free(allocatable, taken, name), placement) for name in resources
    )
    return [pool for pool in found if pool is not None]


def _accelerators(
    node: Mapping[str, Any], resource: str, free: Decimal, placement: Placement
) -> AcceleratorPool | None:
    metadata = _mapping(node, "metadata")
    labels = _mapping(metadata, "labels")
    product = labels.get(product_label(resource)) or labels.get(ACCELERATOR_LABEL)
    if not product or free < 1 or not _accepts_pods(node, taint(resource), placement):
        return None
    return AcceleratorPool(
        str(product),
        int(free),
        1,
        _memory(labels, resource),
        _price_of(node, resource),
        resource == GPU and _is_shared(labels),
        None if resource == GPU else resource,
        _is_spot(labels),
    )


def _cpu(
    node: Mapping[str, Any],
    allocatable: Mapping[str, Any],
    taken: Mapping[str, Decimal],
    placement: Placement,
) -> list[AcceleratorPool]:
    metadata = _mapping(node, "metadata")
    cores = int(_free(allocatable, taken, "cpu"))
    memory = int(_free(allocatable, taken, "memory"))
    if cores < 1 or memory < 1 or not _accepts_pods(node, None, placement):
        return []
    price = _price_of(node, CPU)
    spot = _is_spot(_mapping(metadata, "labels"))
    return [AcceleratorPool(CPU, cores, 1, memory, price, spot=spot)]


def _accepts_pods(node: Mapping[str, Any], tolerated: str | None, placement: Placement) -> bool:
    for condition in _mapping(node, "status").get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return False
    return placement.admitted(_mapping(node, "spec"), tolerated)


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
        or str(labels.get(product_label(GPU), "")).endswith(SHARED_SUFFIX)
        or (replicas.isdigit() and int(replicas) > 1)
    )


def _is_spot(labels: Mapping[str, Any]) -> bool:
    return any(labels.get(key) == value for key, value in SPOT_LABELS.items())


def _memory(labels: Mapping[str, Any], resource: str) -> int | None:
    """Bytes of one accelerator: MiB by NVIDIA's label, `192G` (GiB) by AMD's."""
    if resource == AMD_GPU:
        match = re.fullmatch(r"([1-9][0-9]*)G", str(labels.get("amd.com/gpu.vram", "")))
        return None if match is None else int(match[1]) * 2**30
    text = str(labels.get(f"{resource}.memory", ""))
    return int(text) * 2**20 if text.isdigit() and int(text) > 0 else None


def _price_of(node: Mapping[str, Any], resource: str) -> float | None:
    """What the node's annotation says; a MIG profile beside others has no price of its own."""
    text = _mapping(_mapping(node, "metadata"), "annotations").get(PRICE_ANNOTATION)
    if text is None or resource.startswith(MIG_PREFIX):
        return None
    try:
        return float(parse_quantity(str(text)))
    except ValueError:
        return None


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _order(pool: AcceleratorPool) -> tuple[object, ...]:
    price = -1.0 if pool.price_per_hour is None else pool.price_per_hour
    marks = (pool.shared, pool.resource or "", pool.spot)
    return (pool.accelerator, -pool.count, -(pool.memory_bytes or 0), price, *marks)
