"""Whether what is wanted already stands in what is observed."""

from collections.abc import Mapping, Sequence

ATOMIC = frozenset({"selector", "podSelector", "nodeSelector"})
"""Objects that the API replaces as a whole, so that a key that somebody added is a difference."""


def difference(desired: object, observed: object, path: str = "") -> str | None:
    """Where `desired` is first not part of `observed`, as `.spec.replicas`; None if it all is.

    Objects may have more fields than desired, since the API server fills in defaults and other
    managers own their own. Lists of named items compare by name and may hold further items; other
    lists must be equal in length and order. A field that is no longer desired is not found here:
    the hash of the rendering, an annotation of every child, changes instead.
    """
    # Of dict and list themselves: every look compares some hundred values, and to ask whether one
    # is a Mapping takes longer than all else that is done with it.
    if isinstance(desired, dict):
        if not isinstance(observed, dict):
            return path or "."
        return _difference_of_objects(desired, observed, path)
    if isinstance(desired, (list, tuple)):
        return _difference_of_lists(desired, observed, path)
    # True == 1 in Python, but not in the API.
    same = desired == observed and isinstance(desired, bool) == isinstance(observed, bool)
    return None if same else path or "."


def _difference_of_objects(
    desired: Mapping[str, object], observed: Mapping[str, object], path: str
) -> str | None:
    for key, wanted in desired.items():
        if key not in observed:
            if wanted in ({}, [], None):
                continue
            return f"{path}.{key}"
        if key in ATOMIC and wanted != observed[key]:
            return f"{path}.{key}"
        found = difference(wanted, observed[key], f"{path}.{key}")
        if found is not None:
            return found
    return None


def _difference_of_lists(desired: Sequence[object], observed: object, path: str) -> str | None:
    if not isinstance(observed, (list, tuple)):
        return path or "."
    if desired and all(_name(item) is not None for item in (*desired, *observed)):
        wanted_by_name = {_name(item): item for item in desired}
        observed_by_name = {_name(item): item for item in observed}
        return _first(wanted_by_name, observed_by_name, path)
    if len(desired) != len(observed):
        return path or "."
    return _first(dict(enumerate(desired)), dict(enumerate(observed)), path)


def _first(
    desired: Mapping[object, object], observed: Mapping[object, object], path: str
) -> str | None:
    for key, wanted in desired.items():
        if key not in observed:
            return f"{path}[{key}]"
        found = difference(wanted, observed[key], f"{path}[{key}]")
        if found is not None:
            return found
    return None


def _name(item: object) -> object:
    return item.get("name") if isinstance(item, dict) else None
