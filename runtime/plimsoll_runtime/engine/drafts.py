"""Drafts: tokens guessed ahead, put behind a step's own, and checked by what the model chooses.

A draft is right when the model, or rather the sampler with the draft's position's own random
number, chooses the same token. So drafts change how many steps an answer takes, and nothing else:
decision 013 has the proof.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput

logger = logging.getLogger(__name__)


class Proposer(Protocol):
    """Guesses how requests go on. Called for every step, before the model."""

    def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
        """By request, at most its `max_drafts` tokens; a request may be missing.

        The same history must give the same guesses, whatever the sampler's random numbers are.
        """


class Drafter:
    """Asks a proposer, and makes do without it when it fails.

    `num_possible` says how many of its drafts a request could accept at most; the others are left
    out before the model computes them.
    """

    def __init__(
        self, proposer: Proposer, num_possible: Callable[[ScheduledRequest, list[int]], int]
    ) -> None:
        self._proposer = proposer
        self._num_possible = num_possible
        self._has_failed = False

    def extend(self, output: SchedulerOutput) -> SchedulerOutput:
        """The step with its drafts."""
        try:
            drafts = self._proposer.propose(output)
        except Exception:
            if not self._has_failed:
                logger.exception("drafting failed; steps go on without drafts (told once)")
            self._has_failed = True
            return output
        if not any(drafts.values()):
            return output
        scheduled = [
            self._with_drafts(item, drafts.get(item.request_id)) for item in output.scheduled
        ]
        count = sum(item.num_drafts for item in scheduled)
        return replace(
            output,
            scheduled=scheduled,
            num_tokens=output.num_tokens + count,
            num_context_tokens=output.num_context_tokens + count,
        )

    def _with_drafts(self, item: ScheduledRequest, drafts: list[int] | None) -> ScheduledRequest:
        if not drafts or not item.max_drafts:
            return item
        drafts = drafts[: item.max_drafts]
        drafts = drafts[: self._num_possible(item, drafts)]
        return item._replace(token_ids=item.token_ids + drafts, num_drafts=len(drafts))


def rows_of(item: ScheduledRequest) -> list[ScheduledRequest]:
    """An item for each token that is to be chosen: after its own last token, and each draft.

    The drafts before it are in its history, as if they had come out.
    """
    count = item.num_drafts
    if not count:
        return [item]
    known, drafts = item.token_ids[:-count], item.token_ids[-count:]
    history = item.history
    rows = []
    for index in range(count + 1):
        before = drafts[:index]
        rows.append(
            item._replace(
                token_ids=known + before,
                num_drafts=index,
                output_index=item.output_index + index,
                history=history
                and history._replace(output_token_ids=history.output_token_ids + before),
            )
        )
    return rows


def num_accepted(drafts: Sequence[int], chosen: Sequence[int | None]) -> int:
    """How many drafts are right: `chosen` are the model's own tokens, before each and at the end.

    None of `chosen` is a fault, which counts only as the first: a draft before a fault is left
    out, so that its token is the last one of this step and the next step meets the fault.
    """
    count = 0
    for draft, (own, following) in zip(drafts, pairwise(chosen), strict=True):
        if draft != own or following is None:
            break
        count += 1
    return count
