"""Lays one object over another as Kubernetes' strategic merge does."""

from collections.abc import Mapping
from typing import Any

from plimsoll_operator.api.template_rules import MERGE_KEYS

APPENDED = frozenset({"tolerations"})
"""The API replaces these; that would lose the one that the plan needs."""

Object = Mapping[str, Any]


def overlaid(below: Object, above: Object) -> dict[str, Any]:
    """A new object: maps are merged, values replaced, lists merged by what names their items.

    Items keep the order that they have below, new ones come after them. Neither argument is
    changed.
    """
    merged = dict(below)
    for name, value in above.items():
        merged[name] = _merged(name, merged.get(name), value)
    return merged


def _merged(name: str, below: Any, above: Any) -> Any:
    if isinstance(above, Mapping):
        return overlaid(below if isinstance(below, Mapping) else {}, above)
    if name in APPENDED:
        return [*below, *(item for item in above if item not in below)]
    if name in MERGE_KEYS:
        return _by_key(MERGE_KEYS[name], below or [], above)
    return above


def _by_key(key: str, below: list[Object], above: list[Object]) -> list[Object]:
    merged: dict[str, Object] = {item[key]: item for item in below}
    for item in above:
        merged[item[key]] = overlaid(merged.get(item[key], {}), item)
    return list(merged.values())
