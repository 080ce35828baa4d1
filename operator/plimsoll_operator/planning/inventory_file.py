"""Reads an inventory that a person wrote or `kubectl get nodes -o yaml` printed."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from plimsoll_operator.api.quantity import parse_quantity
from plimsoll_operator.planning.inventory import SHARED_SUFFIX, Inventory
from plimsoll_planner.inputs import AcceleratorPool

_KEYS = ("accelerator", "count", "nodes", "memory", "pricePerHour")
_SHAPE = (
    "give what `kubectl get nodes -o yaml` prints, or a list of {accelerator, count, nodes}, such "
    "as [{accelerator: NVIDIA-L4, count: 4, nodes: 2}]"
)


class InventoryError(ValueError):
    """The inventory is not understood; the message names the place, the value and the way out."""


def read_inventory(documents: Iterable[object]) -> Inventory:
    """Nodes and pools in the parsed YAML or JSON documents of one file. Raises InventoryError."""
    nodes: list[Mapping[str, Any]] = []
    pools: list[AcceleratorPool] = []
    for document in documents:
        if document is None:
            continue
        if isinstance(document, list):
            pools.extend(_pool(f"[{i}]", entry) for i, entry in enumerate(document))
        elif isinstance(document, Mapping) and document.get("kind") == "Node":
            nodes.append(document)
        elif isinstance(document, Mapping) and isinstance(document.get("items"), list):
            for i, item in enumerate(document["items"]):
                if not isinstance(item, Mapping) or item.get("kind", "Node") != "Node":
                    raise InventoryError(f"items[{i}]: not a Node; {_SHAPE}")
                nodes.append(item)
        else:
            raise InventoryError(f"neither nodes nor a list; {_SHAPE}")
    found = Inventory(nodes, pools)
    try:
        found.pools()
    except (AttributeError, TypeError, ValueError) as error:
        raise InventoryError(f"not nodes as Kubernetes has them: {error}; {_SHAPE}") from error
    return found


def _pool(path: str, entry: object) -> AcceleratorPool:
    if not isinstance(entry, Mapping):
        raise InventoryError(f"{path}: {entry!r} is not an object; {_SHAPE}")
    unknown = sorted(str(key) for key in entry if key not in _KEYS)
    if unknown:
        raise InventoryError(f"{path}.{unknown[0]}: unknown field; there are {', '.join(_KEYS)}")
    name = entry.get("accelerator")
    if not isinstance(name, str) or not name:
        raise InventoryError(f"{path}.accelerator: {name!r}: give a product such as NVIDIA-L4")
    memory, price = (_quantity(path, entry, key) for key in ("memory", "pricePerHour"))
    return AcceleratorPool(
        accelerator=name,
        count=_whole(f"{path}.count", entry.get("count", 1)),
        nodes=_whole(f"{path}.nodes", entry.get("nodes", 1)),
        memory_bytes=None if memory is None else int(memory),
        price_per_hour=None if price is None else float(price),
        shared=name.endswith(SHARED_SUFFIX),
    )


def _quantity(path: str, entry: Mapping[object, Any], key: str) -> Decimal | None:
    value = entry.get(key)
    try:
        return None if value is None else parse_quantity(value)
    except ValueError as error:
        raise InventoryError(f"{path}.{key}: {error}") from error


def _whole(path: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise InventoryError(f"{path}: {value!r}: give a whole number from 1 to 100000")
    return value
