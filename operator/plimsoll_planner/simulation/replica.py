"""One replica in simulated time: the engine's scheduler, and how long its steps take."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.step_time import StepSeconds
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.frontend import Delivered, Frontend
from plimsoll_runtime.core.counting import CountingScheduler, StepLoad
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams

_OWN_TOKENS = -(2**40)
"""From here down, a token for what only one prompt holds: in no prefix and no answer."""


@dataclass(frozen=True)
class ReplicaModel:
    """What a replica is simulated from. Without a `frontend` requests come to the engine at once,
    and `step.per_request` is all that passes outside of steps."""

    step: StepSeconds
    limits: EngineLimits
    policy: SchedulingPolicy = SchedulingPolicy.FAIR
    frontend: FrontendTime | None = None

    def seconds(self, load: StepLoad) -> float:
        """How long a step takes."""
        return self.step(load.tokens, load.sampled, load.context, load.pairs)


class Served(NamedTuple):
    """A request as its client saw it. Seconds; tokens.

    `number` is its place in the traffic. `queue` is the wait for a place in the engine; `tpot` is
    None for answers of one token.
    """

    number: int
    arrival: Arrival
    queue: float
    ttft: float
    tpot: float | None
    e2e: float
    cached_tokens: int
    preemptions: int


class Step(NamedTuple):
    """A step of a replica. `gaps` sequences got a token that was not their first; `used_blocks`
    and `running` are as they were while it was computed."""

    begin: float
    seconds: float
    load: StepLoad
    gaps: int
    used_blocks: int
    running: int
    waiting: int


@dataclass
class _Stay:
    """A request that is in the replica; the engine has it from `ready` on."""

    number: int
    arrival: Arrival
    request: Request
    ready: float = -math.inf
    first_token: float = math.inf


@dataclass
class Replica:
    """Steps follow each other without a pause while there is anything to do.

    What arrives during a step is seen by the scheduler when it has ended.
    """

    model: ReplicaModel
    now: float = 0.0
    num_preemptions: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._scheduler = CountingScheduler(self.model.limits, policy=self.model.policy)
        self._frontend = None if self.model.frontend is None else Frontend(self.model.frontend)
        self._inbox: deque[_Stay] = deque()
        self._stays: dict[str, _Stay] = {}
        self._step: tuple[float, float, StepLoad, int, int, int] | None = None

    @property
    def num_requests(self) -> int:
        """Requests that are here, running or not."""
        return len(self._stays)

    def receive(self, number: int, arrival: Arrival) -> None:
        """Takes a request; `number` must be different from those of all others here.

        Raises ValueError for one that is longer than the engine's context.
        """
        arrival = arrival.within(self.model.limits.max_model_len)
        request = Request(
            str(number),
            arrival.prompt(_OWN_TOKENS - number),
            SamplingParams(arrival.output_tokens),
            arrival.at,
            arrival.priority,
            tenant=arrival.tenant,
        )
        stay = _Stay(number, arrival, request)
        if self._frontend is not None:
            stay.ready = self._frontend.take_in(arrival.at, arrival.prompt_tokens)
        self._stays[request.request_id] = stay
        self._inbox.append(stay)

    def begin_step(self, now: float) -> float | None:
        """Begins a step if there is anything to do; says when it ends."""
        scheduler = self._scheduler
        if self._inbox and not scheduler.has_unfinished():
            now = max(now, self._inbox[0].ready)
        while self._inbox and self._inbox[0].ready <= now:
            scheduler.add(self._inbox.popleft().request)
        if not scheduler.has_unfinished():
            return None
        load = scheduler.begin_step(now)
        seconds = self.model.seconds(load)
        self._step = (
            now,
            seconds,
            load,
            scheduler.pool.num_used,
            scheduler.num_running,
            scheduler.num_waiting,
        )
        return now + seconds

    def pass_quiet(self, until: float) -> float:
        """Ends the steps that begin and end no request, as far as they end before `until`; says
        when the next one does, which is begun. Nothing may have been received since a step was.
        Behind a frontend that is still busy with one when the next ends none is passed over.

        Raises ValueError where no step was begun.
        """
        if self._step is None:
            raise ValueError("no step was begun")
        begin, seconds, load, used, running, waiting = self._step
        end, passed = begin + seconds, 0
        frontend, count = self._frontend, load.sampled
        if frontend is not None and (self._inbox or not frontend.keeps_up(end, seconds, count)):
            return end
        if end < until and (most := self._scheduler.quiet_steps()):
            step, context = self.model.step, load.context
            while passed < most and end < until:
                passed += 1
                context += count
                begin, seconds = end, step(count, count, context, context)
                end = begin + seconds
            self._scheduler.pass_quiet(passed)
            if frontend is not None:
                frontend.deliver(begin, count, 0)
            load = StepLoad(count, count, context, context)
            self._step = (begin, seconds, load, used, running, waiting)
        return end

    def end_step(self) -> tuple[Step, list[Served]]:
        """Ends the step that was begun; gives the requests that it ended."""
        if self._step is None:
            raise ValueError("no step was begun")
        begin, seconds, load, used, running, waiting = self._step
        self._step = None
        end = begin + seconds
        events = self._scheduler.end_step()
        seen = Delivered(end, end)
        if self._frontend is not None:
            seen = self._frontend.deliver(end, load.sampled, len(events.ended))
        for request in events.begun:
            self._stays[request.request_id].first_token = seen.new
        served = [self._served(request, seen) for request in events.ended]
        self.num_preemptions = self._scheduler.num_preemptions
        step = Step(begin, seconds, load, load.sampled - len(events.begun), used, running, waiting)
        return step, served

    def _served(self, request: Request, seen: Delivered) -> Served:
        stay = self._stays.pop(request.request_id)
        at = stay.arrival.at
        outside = self.model.step.per_request if self._frontend is None else 0.0
        count = len(request.output_token_ids)
        end = seen.others if count > 1 else seen.new
        started = at if request.first_scheduled_time is None else request.first_scheduled_time
        return Served(
            stay.number,
            stay.arrival,
            started - at,
            stay.first_token - at + outside,
            (end - stay.first_token) / (count - 1) if count > 1 else None,
            end - at + outside,
            request.num_cached_tokens,
            request.num_preemptions,
        )
