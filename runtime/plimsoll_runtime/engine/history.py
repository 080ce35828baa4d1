"""What is kept of a request from one step to the next, and can always be made again."""

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, Self, TypeVar

from plimsoll_runtime.core.step import ScheduledRequest, TokenHistory


class Follower(Protocol):
    """Follows a request's output. Belongs to one request."""

    num_taken: int
    """Output tokens that it has been told of."""

    def take(self, token_ids: list[int]) -> None:
        """Goes on by these output tokens."""


class Forkable(Follower, Protocol):
    """One that can be tried out."""

    def fork(self) -> Self:
        """A copy that goes its own way."""


F = TypeVar("F", bound=Follower)
K = TypeVar("K", bound=Forkable)


def ahead(follower: K, item: ScheduledRequest) -> K:
    """A copy of an item's follower that has taken its drafts as well; itself where there are none.

    So the follower knows only what has come out, whatever becomes of the drafts.
    """
    if not item.num_drafts:
        return follower
    copy = follower.fork()
    copy.take(item.token_ids[-item.num_drafts :])
    return copy


class Followers(Generic[F]):
    """The followers of the requests that sampled in the last step.

    A request that is not among them, such as one that was preempted, gets a new one that is told
    of the whole output. So nobody has to say when a request has ended.
    """

    def __init__(self) -> None:
        self._kept: dict[str, F] = {}

    def follow(self, item: ScheduledRequest, make: Callable[[TokenHistory], F]) -> F:
        """The follower of `item`, up to date but for its drafts. `item` must have a history."""
        if item.history is None:
            raise ValueError(f"request {item.request_id!r} came without its tokens")
        # An id may be used again by another request, whose first token has the index 0.
        known = self._kept.get(item.request_id) if item.output_index else None
        follower = known or make(item.history)
        output = item.history.output_token_ids
        follower.take(output[follower.num_taken : len(output) - item.num_drafts])
        self._kept[item.request_id] = follower
        return follower

    def keep(self, request_ids: Iterable[str]) -> None:
        """Forgets all others."""
        if self._kept:
            wanted = set(request_ids)
            self._kept = {key: each for key, each in self._kept.items() if key in wanted}
