"""A way to run a replica, tried out: traffic through the engine's own scheduler."""

import math
from functools import partial
from itertools import chain, islice

from plimsoll_planner.inputs import Objectives, Workload
from plimsoll_planner.performance.latency import mean_running
from plimsoll_planner.performance.memory import BLOCK_SIZE
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.search.options import Option
from plimsoll_planner.search.partial_trial import Attempt, Least, Measured, alone
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.recorded_trace import RecordedTrace
from plimsoll_planner.simulation.replay import Bounds, fleet_for, replay
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, Routing, Run, Window, simulation
from plimsoll_planner.simulation.summary import Percentiles, summary
from plimsoll_runtime.core.limits import EngineLimits

REQUESTS = 1000
"""Requests that are measured for a plan: their p95 is as sure as the step times, or more."""
SEED = 0
"""Of all trials: loads, promises and replicas are compared on the same requests."""
WARM_UP = 0.3
"""Requests that pass before those measured, as a share of these."""
_STEPS = 40_000
"""About as many steps are simulated at most, which bounds the time that a trial takes: about a
quarter of a second."""
_TRACE_STEPS = 4 * _STEPS
"""The same for a recorded trace, so that most are simulated whole."""
_RUNNING = 0.25
"""Sequences that run at once, as a share of those that may: about as many as at a usual load."""
_FEWEST = 200
_WAITED = 0.1
"""Share of a trial's time that a request waits at most where the replica keeps up: with more to do
than it can, by this share, the last ones would wait so long."""
_SHORT = 1.0
"""Seconds of a wait that tells nothing, however short the trial."""


class Trials:
    """Trials of `requests` each, remembered; of 0 requests there are none.

    Each has the same requests at its own rate (common random numbers), so that options differ by
    what they are and not by chance.
    """

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self._known: dict[tuple[object, ...], Attempt] = {}
        self._lengths: dict[tuple[object, ...], list[Arrival]] = {}

    @property
    def count(self) -> int:
        """How many there have been."""
        return len(self._known)

    def attempt(
        self, workload: Workload, max_model_len: int, option: Option, rate: float
    ) -> Attempt:
        """A trial of a replica of the option at `rate` requests per second."""
        lengths = (workload.prompt_tokens, workload.output_tokens, workload.shared_prefix_tokens)
        tokens, trace = option.memory.kv_cache_tokens, workload.trace
        load = None if trace is None else (trace, workload.requests_per_second)
        key = (option.engine, tokens, lengths, max_model_len, rate, load)
        if key not in self._known:
            # Without a shared prefix nothing is found, and looking takes most of the time.
            caching = workload.shared_prefix_tokens >= BLOCK_SIZE or _has_prefixes(trace)
            most = _most_blocks(option, max_model_len, workload, caching=caching)
            blocks = min(tokens // BLOCK_SIZE, most)
            limits = EngineLimits(
                max_num_seqs=option.engine.max_num_seqs,
                max_num_batched_tokens=option.engine.max_num_batched_tokens,
                max_model_len=max_model_len,
                num_blocks=int(blocks),
                block_size=BLOCK_SIZE,
                enable_prefix_caching=caching,
            )
            step = option.engine.step
            model = ReplicaModel(step, limits, frontend=step.frontend)
            if trace is not None:
                self._known[key] = _replayed(workload, trace, model, rate, self.requests)
                return self._known[key]
            traffic = Traffic.of(workload, max_model_len)
            running = round(mean_running(option.engine, traffic, rate))
            count = min(self.requests, _affordable(workload, model, _STEPS))
            least = Least()
            if not caching:
                least = alone(model.step, self._requests(workload, max_model_len, count))
            self._known[key] = _random(workload, model, rate, running, count, least)
        return self._known[key]

    def _requests(self, workload: Workload, max_model_len: int, count: int) -> list[Arrival]:
        """Those that are measured, whose lengths are the same at any rate."""
        key = (workload.prompt_tokens, workload.output_tokens, max_model_len, count)
        if key not in self._lengths:
            skip = int(count * WARM_UP)
            some = _traffic(workload, count).arrivals(1.0, max_model_len, SEED)
            self._lengths[key] = list(islice(some, skip, skip + count))
        return self._lengths[key]


def _most_blocks(option: Option, max_model_len: int, workload: Workload, *, caching: bool) -> float:
    """Blocks beyond which none is ever used: a small model on a large GPU has millions more, which
    would take a hundred megabytes to count."""
    running = option.engine.max_num_seqs * (math.ceil(max_model_len / BLOCK_SIZE) + 1)
    if not caching:
        return running
    if workload.trace is None:
        return math.inf
    # What a trace brings in all, with its parts that are played twice, is the most that is kept.
    return running + 2 * sum(
        1 + (each.prompt_tokens + each.output_tokens) // BLOCK_SIZE
        for each in workload.trace.arrivals
    )


def _random(  # noqa: PLR0913, PLR0917 - of one trial
    workload: Workload, model: ReplicaModel, rate: float, running: int, count: int, least: Least
) -> Attempt:
    """Begins with as many sequences as run in a steady state, which is far off from an idle replica
    where there are hundreds."""
    traffic, longest = _traffic(workload, count), model.limits.max_model_len
    arrivals = chain(
        traffic.underway(running, longest, SEED), traffic.arrivals(rate, longest, SEED)
    )
    window = Window(running + int(count * WARM_UP), count)
    going = simulation(Fleet(model), arrivals, window, steps=False)
    return Attempt(rate, count, least, going, partial(_found, rate=rate))


def _traffic(workload: Workload, count: int) -> RandomTraffic:
    return RandomTraffic(workload, stratum=max(1, count // 2))


def _replayed(
    workload: Workload, trace: RecordedTrace, model: ReplicaModel, rate: float, enough: int
) -> Attempt:
    """The trace at as many replicas as the declared load takes at `rate` each."""
    fleet = fleet_for(workload.requests_per_second, rate)
    most = _affordable(workload, model, _TRACE_STEPS)
    part = replay(trace.arrivals, fleet, rate, Bounds(enough, most, SEED))
    replicas = Fleet(model, part.replicas, Routing.RANDOM, SEED)
    window = Window(part.skip, part.count)
    going = simulation(replicas, part.arrivals, window, steps=False)
    return Attempt(rate, part.count, Least(), going, partial(_found, rate=rate))


def _affordable(workload: Workload, model: ReplicaModel, steps: int) -> int:
    """Requests that about so many steps serve."""
    at_once = max(1.0, _RUNNING * model.limits.max_num_seqs)
    return max(_FEWEST, int(steps * at_once / workload.output_tokens.mean))


def _has_prefixes(trace: RecordedTrace | None) -> bool:
    return trace is not None and any(each.prefix_ids for each in trace.arrivals)


def _found(run: Run, rate: float) -> Measured:
    found = summary(run, Objectives())
    ttft, tpot, queue = found.ttft, found.tpot, found.queue
    return Measured(
        rate=rate,
        requests=found.requests,
        ttft_p50=math.inf if ttft is None else ttft.p50,
        ttft_p95=math.inf if ttft is None else ttft.p95,
        tpot_p50=0.0 if tpot is None else tpot.p50,
        tpot_p95=0.0 if tpot is None else tpot.p95,
        queue_p95=math.inf if queue is None else queue.p95,
        ttft_error=_error(ttft),
        tpot_error=_error(tpot),
        keeps_up=queue is not None and queue.p95 <= max(_SHORT, _WAITED * run.seconds),
    )


def _error(found: Percentiles | None) -> float | None:
    if found is None or found.p95_error is None or not found.p95:
        return None
    return found.p95_error / found.p95
