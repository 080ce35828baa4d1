"""Requests in order of urgency: those that wait for a place, and those that have one."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from plimsoll_runtime.core.request import Request


def rank(request: Request) -> tuple[int, float, int]:
    """Sorts the most urgent first: smaller priority, then earlier arrival.

    The order is total and does not change during a request's life. That rules out livelock: the
    first in rank is never preempted, so it finishes, and then another is first.
    """
    return (request.priority, request.arrival_time, request.sequence)


class RankedQueue:
    """Requests sorted by `rank`; adding and removing are a binary search and one memory move."""

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __getitem__(self, position: int) -> Request:
        return self._requests[position]

    def add(self, request: Request) -> None:
        """Puts a request at its rank: a preempted one ahead of all that came after it."""
        insort(self._requests, request, key=rank)

    def remove(self, request: Request) -> None:
        """Takes out a request. Raises KeyError when it is not here."""
        position = bisect_left(self._requests, rank(request), key=rank)
        if position == len(self._requests) or self._requests[position] is not request:
            raise KeyError(request.request_id)
        del self._requests[position]

    def pop_first(self) -> Request:
        """Takes the most urgent request. Raises IndexError when there is none."""
        return self._requests.pop(0)

    def pop_last(self) -> Request:
        """Takes the least urgent request. Raises IndexError when there is none."""
        return self._requests.pop()
