"""What a replica that finds no room is short of, and by how much: pure, as the scheduler counts.

The scheduler says how many nodes have too little of a resource, and never how much is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from plimsoll_operator.api.quantity import format_bytes, parse_quantity
from plimsoll_operator.api.template import PodTemplate
from plimsoll_operator.planning.placement import placement

Amounts = Mapping[str, Decimal]
"""Of each resource: `cpu` in cores, `memory` in bytes, `nvidia.com/gpu` and `pods` by number."""

_NONE = Decimal(0)
_BYTES = frozenset({"memory", "ephemeral-storage"})


@dataclass(frozen=True)
class Room:
    """What a node offers to pods, and what those on it have `taken`; None where nobody knows."""

    node: str
    offered: Amounts
    taken: Amounts | None = None

    def lack(self, asked: Amounts) -> dict[str, Decimal]:
        """What is missing for a pod that asks for so much; at the least, where `taken` is None."""
        missing = {name: amount - self.free(name) for name, amount in asked.items()}
        return {name: amount for name, amount in missing.items() if amount > 0}

    def free(self, resource: str) -> Decimal:
        """What is left of a resource, at the most, where `taken` is None."""
        taken = (self.taken or {}).get(resource, _NONE)
        return max(_NONE, self.offered.get(resource, _NONE) - taken)


def asked_by(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod with that spec takes of a node.

    By Kubernetes, "Resource sharing within containers": its containers and sidecars together, or
    the init container that takes more, and the overhead of its runtime class.
    """
    running: dict[str, Decimal] = {}
    most: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or ():
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            running = own = _sum(running, own)
        else:
            own = _sum(running, own)
        most = _most(most, own)
    for container in spec.get("containers") or ():
        running = _sum(running, _requests(container))
    total = {**_most(most, running), **_requests(spec)}
    return _sum(_sum(total, _amounts(spec.get("overhead"))), {"pods": Decimal(1)})


def taken_by(specs: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """What pods with those specs take together."""
    total: dict[str, Decimal] = {}
    for spec in specs:
        total = _sum(total, asked_by(spec))
    return total


def rooms(spec: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> list[Room]:
    """The nodes that a pod with that spec may run on, as if nothing ran there.

    What affinity says is left to the scheduler.
    """
    part = {key: spec[key] for key in ("nodeSelector", "tolerations") if spec.get(key)}
    where = placement(PodTemplate(spec=part))
    return [
        Room(str(node["metadata"]["name"]), _amounts(node.get("status", {}).get("allocatable")))
        for node in nodes
        if where.selects(node["metadata"].get("labels") or {})
        and where.admitted(node.get("spec") or {})
    ]


def nearest_first(asked: Amounts, found: Iterable[Room]) -> list[Room]:
    """Those that lack least of what is asked for, each resource by its share of that."""
    return sorted(
        found,
        key=lambda room: (
            sum(amount / asked[name] for name, amount in room.lack(asked).items()),
            room.node,
        ),
    )


def describe(asked: Amounts, found: Sequence[Room], among: int = 0) -> str:
    """What the nearest node is short of; empty where one has room, or nobody knows.

    Nodes whose `taken` is not known count only by what they can never offer. `among` is how many
    nodes there are, where they are more than `found`.
    """
    lacking = [room for room in found if room.taken is not None or room.lack(asked)]
    if not lacking:
        return ""
    room = nearest_first(asked, lacking)[0]
    least = "" if room.taken is not None else "at least "
    told = [
        f"{least}{_told(name, amount)} {name} (asked {_told(name, asked[name])}, free "
        f"{_told(name, room.free(name))} of {_told(name, room.offered.get(name, _NONE))})"
        for name, amount in sorted(room.lack(asked).items())
    ]
    if not told:
        return ""
    where = f"of {len(found)} of {among} nodes " if among > len(found) else "node "
    return f"{where}{room.node} comes nearest, and is short of {' and '.join(told)}"


def _told(resource: str, amount: Decimal) -> str:
    if resource in _BYTES:
        return format_bytes(int(amount))
    return f"{round(amount, 3).normalize():f}"


def _requests(holder: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = holder.get("resources") or {}
    # Where only a limit is said, the API server makes a request of it.
    return {**_amounts(resources.get("limits")), **_amounts(resources.get("requests"))}


def _amounts(found: Any) -> dict[str, Decimal]:
    return {str(name): _amount(value) for name, value in (found or {}).items()}


def _amount(value: Any) -> Decimal:
    """Other people's quantities may have an exponent, which ours may not."""
    try:
        return parse_quantity(value)
    except ValueError:
        pass
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return _NONE
    return found if found.is_finite() and found > 0 else _NONE


def _sum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    names = (*one, *other)
    return {name: one.get(name, _NONE) + other.get(name, _NONE) for name in names}


def _most(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    names = (*one, *other)
    return {name: max(one.get(name, _NONE), other.get(name, _NONE)) for name in names}
