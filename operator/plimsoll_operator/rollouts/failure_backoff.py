"""Failures that only a change from outside can end, so that they are not repeated at every look."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")
_MAX_DOUBLINGS = 30


@dataclass(frozen=True)
class Setback(Generic[A]):
    """`answer` is what `question` met with; asking again makes sense from `due` on (seconds)."""

    question: object
    answer: A
    failures: int
    due: float


class Setbacks(Generic[A]):
    """The last failure by owner and subject; the same again is put off for longer each time.

    A question that differs in anything is another one, and may be asked at once.
    """

    def __init__(self, base: float, limit: float) -> None:
        self._base = base
        self._limit = limit
        self._owners: dict[str, dict[Hashable, Setback[A]]] = {}

    def get(self, owner: str, subject: Hashable, question: object) -> Setback[A] | None:
        """The setback that this very question met with last, due or not."""
        known = self._owners.get(owner, {}).get(subject)
        return known if known is not None and known.question == question else None

    def record(
        self, owner: str, subject: Hashable, question: object, answer: A, now: float
    ) -> Setback[A]:
        """Takes note of a failure, and how long to put the question off."""
        known = self.get(owner, subject, question)
        failures = 1 if known is None else known.failures + 1
        delay = min(self._limit, self._base * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        setback = Setback(question, answer, failures, now + delay)
        self._owners.setdefault(owner, {})[subject] = setback
        return setback

    def clear(self, owner: str, subject: Hashable) -> None:
        """The subject met with success."""
        known = self._owners.get(owner, {})
        known.pop(subject, None)
        if not known:
            self._owners.pop(owner, None)

    def forget(self, owner: str) -> None:
        """Drops what was noted of an owner that is gone."""
        self._owners.pop(owner, None)
