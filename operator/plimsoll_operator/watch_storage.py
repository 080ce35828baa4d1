"""Storages for kopf that keep nothing: our handlers only see events, and ask for no differences.

kopf works out at every event what of the object matters and how it differs from the one before,
whether or not a handler wants to know; with its own storages that is several copies of the object.
"""

from collections.abc import Iterable
from typing import Any, cast

import kopf
from kopf._cogs.structs import bodies  # the types of what is overridden, which kopf does not export

NOTHING = cast("bodies.BodyEssence", {})


class NoDifferences(kopf.DiffBaseStorage):
    """Finds every object to be the same as before."""

    def build(
        self,
        *,
        body: bodies.Body,  # noqa: ARG002
        extra_fields: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> bodies.BodyEssence:
        return NOTHING

    def fetch(self, *, body: bodies.Body) -> bodies.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, **_: Any) -> None:
        """Keeps nothing."""


class NoProgress(kopf.ProgressStorage):
    """Knows of no handler that has to be called again."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Keeps nothing."""

    def purge(self, **_: Any) -> None:
        """Has nothing to remove."""

    def touch(self, **_: Any) -> None:
        """Marks nothing."""

    def clear(self, *, essence: bodies.BodyEssence) -> bodies.BodyEssence:
        return essence
