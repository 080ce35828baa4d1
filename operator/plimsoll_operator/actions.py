"""What can be done to children."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.render.children import ChildKey, key_of

REPLICAS = ".spec.replicas"


@dataclass(frozen=True)
class Apply:
    """Server-side apply `child`; `because` is the field that differs, or empty where it is new."""

    child: dict[str, Any]
    because: str = ""

    @property
    def key(self) -> ChildKey:
        return key_of(self.child)

    @property
    def only_scales(self) -> bool:
        """Whether nothing but the replica count changes."""
        return self.because == REPLICAS


@dataclass(frozen=True)
class Delete:
    """Delete a child of ours that is no longer wanted, if it still has this uid."""

    key: ChildKey
    uid: str

    @property
    def only_scales(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Renumber:
    """Give a revision of ours a number, and an `owner` where it has none, if it still has this uid;
    its data stays."""

    key: ChildKey
    uid: str
    number: int
    owner: Mapping[str, Any] | None = None

    @property
    def only_scales(self) -> bool:
        """Never."""
        return False


Action = Apply | Delete | Renumber
