"""Turns requests away that would wait too long, or that come when the server is about to end."""

import time
from collections.abc import Callable, Sequence

from plimsoll_runtime.core.admission import (
    AdmissionRules,
    Demand,
    Reason,
    Rejection,
    judge,
    predicted_wait,
    retry_after,
)
from plimsoll_runtime.core.request import Request
from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.lifecycle import Lifecycle
from plimsoll_runtime.server.metrics import Metrics

RATE_LIMITED = "rate_limit_exceeded"
DROPPED_REASON = "x-llm-d-request-dropped-reason"
DRAINING_RETRY = 1
"""Seconds; by then another replica is found."""
MAX_UNFINISHED = 4096
"""Sequences that may run or wait at once, whoever asks."""


class Admission:
    """Decides before anything of a request reaches the engine, and counts what it refuses.

    While draining, what would have its turn before the end is still served.
    """

    def __init__(
        self,
        engine: EngineHandle,
        rules: AdmissionRules,
        metrics: Metrics,
        lifecycle: Lifecycle,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._clock = clock

    def check(
        self, requests: Sequence[Request], num_unfinished: int, max_wait: float | None = None
    ) -> None:
        """Raises APIError, 429 or 503 with `Retry-After`, unless all of `requests` may enter.

        They are the sequences of one HTTP request; `num_unfinished` others run or wait.
        """
        first = requests[0]
        tokens = sum(each.num_tokens for each in requests)
        demand = Demand(first.tenant, first.priority, len(requests), tokens, max_wait)
        load = self._engine.stats().load
        wait = predicted_wait(load, demand, self._rules)
        deadline = self._lifecycle.deadline
        if deadline is not None and wait >= deadline - self._clock():
            raise self._refuse(
                503,
                Rejection(Reason.DRAINING, DRAINING_RETRY, wait),
                "the server is about to stop",
            )
        if num_unfinished + len(requests) > MAX_UNFINISHED:
            raise self._refuse(
                429,
                Rejection(Reason.TOO_MANY, retry_after(wait / MAX_UNFINISHED), wait),
                f"{num_unfinished} sequences run or wait, the most there may be is "
                f"{MAX_UNFINISHED}",
            )
        rejection = judge(load, demand, self._rules)
        if rejection is None:
            return
        if rejection.reason is Reason.QUEUE_FULL:
            waiting = sum(each.num_requests for each in load.waiting)
            problem = f"{waiting} sequences wait and the queue is for {self._rules.max_queue_len}"
        else:
            problem = (
                f"the request would wait about {wait:.1f} s for its turn, longer than it or this "
                "server allows"
            )
        raise self._refuse(429, rejection, problem)

    def _refuse(self, status: int, rejection: Rejection, problem: str) -> APIError:
        self._metrics.rejected(rejection.reason)
        return APIError(
            status,
            f"{problem}: send the request again in {rejection.retry_after} s",
            code=RATE_LIMITED if status == 429 else None,
            headers={
                "Retry-After": str(rejection.retry_after),
                DROPPED_REASON: rejection.reason.value,
            },
        )
