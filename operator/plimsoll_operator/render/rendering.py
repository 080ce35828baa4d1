"""How pods are made of a plan: by which engine image, and by which version of this package."""

from dataclasses import dataclass
from typing import Any

NEWEST = 1
"""Grows with every release whose pods differ from those of the release before, for the same
resource and plan. What differs asks for the version where it is rendered, and the golden files of
earlier versions stay as they are: pods that run go on by the version that they were started by."""


@dataclass(frozen=True)
class Rendering:
    """`image` is that of the engine, `version` up to NEWEST."""

    image: str
    pull_policy: str = "IfNotPresent"
    version: int = NEWEST

    def plain(self) -> dict[str, Any]:
        """As a revision keeps it."""
        return {"image": self.image, "pullPolicy": self.pull_policy, "version": self.version}

    @classmethod
    def read(cls, found: object) -> "Rendering | None":
        """From `plain`; None for anything else, and for a version later than NEWEST."""
        match found:
            case {"image": str(image), "pullPolicy": str(policy), "version": int(version)}:
                return cls(image, policy, version) if 0 < version <= NEWEST else None
        return None
