"""Plans for a recorded trace: for its bursts, lengths and prefixes, not for its means."""

from dataclasses import replace

from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.recorded_trace import RecordedTrace
from plimsoll_planner.simulation.trace import workload_of
from tests.unit.plimsoll_planner.models import LLAMA_31_8B, request_for

L40S = AcceleratorPool("NVIDIA-L40S", 8, 4, None, 1.0)
REQUESTS = 120
EVEN = tuple(Arrival(i / 4, 1000, 20) for i in range(REQUESTS))
BURSTS = tuple(Arrival(i // 30 * 7.5, 1000, 20) for i in range(REQUESTS))


def asked(trace: tuple[Arrival, ...], rate: float = 4.0, tpot: float | None = 0.2) -> PlanRequest:
    request = request_for(LLAMA_31_8B, L40S, ttft=1.5, tpot=tpot, max_replicas=30)
    workload = replace(workload_of(trace), requests_per_second=rate, trace=RecordedTrace.of(trace))
    return replace(request, workload=workload)


def planned(request: PlanRequest) -> Plan:
    result = plan(request, REQUESTS)
    assert result.feasible, result.binding_constraint
    assert result.plan is not None
    return result.plan


def test_bursts_take_more_replicas_than_the_same_figures_spread_out() -> None:
    even, bursts = planned(asked(EVEN)), planned(asked(BURSTS))
    assert even.replicas == 1
    assert bursts.replicas > 1
    assert bursts.predicted.simulated is not None
    assert bursts.predicted.simulated.requests <= REQUESTS
    assert planned(asked(BURSTS)) == bursts


def test_what_prompts_share_need_not_be_computed() -> None:
    rate = 40.0
    apart = tuple(Arrival(i / 4, 2048, 8, (4 * i, 4 * i + 1)) for i in range(REQUESTS))
    shared = tuple(Arrival(i / 4, 2048, 8, (0, 1, 2, 3)) for i in range(REQUESTS))
    assert planned(asked(shared, rate)).replicas < planned(asked(apart, rate)).replicas


def test_a_trace_is_planned_for_at_the_rate_that_is_declared() -> None:
    slow, fast = planned(asked(EVEN)), planned(asked(EVEN, 40.0))
    assert fast.replicas > slow.replicas
    assert fast.trace is not None
    assert slow.trace is not None
    assert (slow.trace.rate, fast.trace.rate) == (4.0, 40.0)
    assert fast.trace.digest == slow.trace.digest == RecordedTrace.of(EVEN).digest
    assert (fast.trace.requests, fast.trace.seconds) == (REQUESTS, EVEN[-1].at)


def test_without_trials_its_figures_are_planned_for() -> None:
    result = plan(asked(EVEN))
    assert result.plan is not None
    assert result.plan.trace is not None
    assert result.plan.predicted.simulated is None
