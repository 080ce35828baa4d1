"""Traffic through the engine's own scheduler, step by step and token by token.

What the planner's simulator, which counts tokens instead, is held against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult


@dataclass
class Seen:
    """One request as its client saw it. Seconds."""

    queue: float
    ttft: float
    e2e: float
    cached_tokens: int
    preemptions: int


def serve(model: ReplicaModel, traffic: Sequence[Arrival]) -> list[Seen]:
    """Every request, in the order of `traffic`, which is that of time."""
    scheduler = Scheduler(model.limits, policy=model.policy)
    requests = [_request(model, number, arrival) for number, arrival in enumerate(traffic)]
    first: dict[str, float] = {}
    seen: dict[str, Seen] = {}
    added, now, outside = 0, 0.0, model.step.per_request
    while added < len(requests) or scheduler.has_unfinished():
        if not scheduler.has_unfinished():
            now = max(now, traffic[added].at)
        while added < len(requests) and traffic[added].at <= now:
            scheduler.add(requests[added])
            added += 1
        step = scheduler.schedule(now)
        now += _seconds(model, step)
        sampled = {s.request_id: -1 - int(s.request_id) for s in step.scheduled if s.samples}
        for item in scheduler.update(step, StepResult(sampled)):
            begun = first.setdefault(item.request_id, now)
            if item.finish_reason is not None:
                at = traffic[int(item.request_id)].at
                started = item.first_scheduled_time
                assert started is not None
                seen[item.request_id] = Seen(
                    started - at,
                    begun - at + outside,
                    now - at + outside,
                    item.cached_tokens,
                    item.num_preemptions,
                )
    return [seen[request.request_id] for request in requests]


def _request(model: ReplicaModel, number: int, arrival: Arrival) -> Request:
    cut = arrival.within(model.limits.max_model_len)
    return Request(
        str(number),
        cut.prompt(-10_000 - number),
        SamplingParams(cut.output_tokens),
        cut.at,
        cut.priority,
        tenant=cut.tenant,
    )


def _seconds(model: ReplicaModel, step: SchedulerOutput) -> float:
    tokens, pairs, sampled = 0, 0.0, 0
    for item in step.scheduled:
        chunk = len(item.token_ids)
        tokens += chunk
        pairs += chunk * (item.start + (chunk + 1) / 2)
        sampled += item.samples
    return model.step(tokens, sampled, step.num_context_tokens, pairs)
