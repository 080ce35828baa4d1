"""Reading config.json, which is foreign input: every number is bounded, every type checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 2**31 - 1
"""Most of any single size; no published model has a larger one."""
_EMPTY: Mapping[str, Any] = {}


class UnknownModelError(ValueError):
    """The planner cannot tell from a config.json what the model costs; says why and a way out."""


@dataclass(frozen=True)
class Fields:
    """The fields of a config.json; what it leaves out is as in `defaults`, those of its family.

    A field that is null counts as left out. Where several names are given, the first one that is
    there is taken, as families call the same thing differently.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)

    def size(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """A whole number from `least` to MOST. Raises UnknownModelError for anything else."""
        name, value = self._find(names)
        if value is None:
            value = default
        if value is None:
            raise UnknownModelError(
                f"config.json: {' or '.join(names)} is missing: give the model's whole config.json"
            )
        return _whole(name, value, least)

    def size_or_none(self, *names: str, least: int = 1) -> int | None:
        """Such a number, or None where there is none."""
        name, value = self._find(names)
        return None if value is None else _whole(name, value, least)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false. Raises UnknownModelError for anything else."""
        _, value = self._find((name,))
        if value is None:
            return default
        if not isinstance(value, bool):
            raise UnknownModelError(f"config.json: {name} must be true or false, not {value!r:.80}")
        return value

    def text(self, name: str) -> str:
        """A string, empty where there is none. Raises UnknownModelError for anything else."""
        _, value = self._find((name,))
        if value is None:
            return ""
        if not isinstance(value, str):
            raise UnknownModelError(f"config.json: {name} must be a string, not {value!r:.80}")
        return value

    def items(self, name: str) -> list[Any]:
        """A list, empty where there is none. Raises UnknownModelError for anything else."""
        _, value = self._find((name,))
        if value is None:
            return []
        if not isinstance(value, list):
            raise UnknownModelError(f"config.json: {name} must be a list, not {value!r:.80}")
        return value

    def nested(self, name: str) -> "Fields":
        """The fields of an object, none where there is none."""
        _, value = self._find((name,))
        if value is None:
            return Fields(_EMPTY)
        if not isinstance(value, Mapping):
            raise UnknownModelError(f"config.json: {name} must be an object, not {value!r:.80}")
        return Fields(value)

    def has(self, name: str) -> bool:
        """Whether there is a value, be it the family's."""
        return self._find((name,))[1] is not None

    def _find(self, names: tuple[str, ...]) -> tuple[str, Any]:
        for source in (self.values, self.defaults):
            for name in names:
                if source.get(name) is not None:
                    return name, source[name]
        return names[0], None


def _whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
        raise UnknownModelError(
            f"config.json: {name} must be a whole number from {least} to {MOST}, not {value!r:.80}"
        )
    return value
