"""Plans whose finalists were tried out: cheapest that holds, byte for byte the same, monotone."""

from dataclasses import replace

import pytest

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import AcceleratorPool, Objectives, Pin, PlanRequest
from plimsoll_planner.performance.memory import BLOCK_SIZE
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan
from plimsoll_planner.search import trial
from plimsoll_planner.search.alternatives import nearest_edges
from plimsoll_planner.search.finalists import finals
from plimsoll_planner.search.infeasible_request import Scene
from plimsoll_planner.search.options import HEADROOM
from plimsoll_planner.search.search import search
from plimsoll_planner.search.trial import REQUESTS, SEED, Trials
from plimsoll_planner.simulation.experiment import Experiment
from plimsoll_planner.simulation.planned import replica_model
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models import CPU_NODE, request_for

FEW = 80
L4 = AcceleratorPool("NVIDIA-L4", 4, 8, None, 0.4)
L40S = AcceleratorPool("NVIDIA-L40S", 4, 8, None, 1.0)
H200 = AcceleratorPool("NVIDIA-H200", 8, 2, None, 4.0)
AT_THE_LIMIT = 9.16
"""Requests per second that the closed formulas let one L40S sustain, and the scheduler does not."""


def asked(load: float = 20.0, ttft: float = 0.8, tpot: float = 0.06) -> PlanRequest:
    return request_for(
        models.LLAMA_31_8B, L4, L40S, H200, rate=load, ttft=ttft, tpot=tpot, max_replicas=30
    )


def planned(request: PlanRequest, requests: int = FEW) -> Plan:
    result = plan(request, requests)
    assert result.feasible, result.binding_constraint
    assert result.plan is not None
    return result.plan


def cost(request: PlanRequest) -> float:
    found = planned(request).cost
    assert found is not None
    return found.per_hour


def test_a_load_at_the_limit_of_the_formulas_takes_one_more() -> None:
    request = request_for(models.LLAMA_31_8B, L40S, rate=AT_THE_LIMIT)
    closed, tried = plan(request).plan, planned(request, REQUESTS)
    assert closed is not None
    assert (closed.replicas, closed.predicted.simulated) == (1, None)
    assert tried.replicas == 2
    assert tried.predicted.requests_per_second_per_replica < AT_THE_LIMIT
    assert "requests/s timeToFirstToken p95 would be" in tried.binding_constraint
    seen = tried.predicted.simulated
    assert seen is not None
    assert (seen.requests, seen.seed, seen.rate) == (REQUESTS, SEED, AT_THE_LIMIT / 2)
    assert seen.ttft_p50 < tried.predicted.ttft_p95
    assert seen.queue_p95 < tried.predicted.ttft_p95


def test_a_plan_holds_on_other_traffic_of_the_same_kind() -> None:
    request = asked()
    found = planned(request, REQUESTS)
    each = request.workload.requests_per_second / found.replicas
    model = replica_model(found, request.model)
    for seed in (1, 2):
        experiment = Experiment(
            model, request.objectives, RandomTraffic(request.workload), requests=1000, seed=seed
        )
        seen = experiment.at(each)
        assert seen.ttft is not None
        assert seen.tpot is not None
        assert seen.ttft.p95 <= (request.objectives.ttft_p95 or 0.0)
        assert seen.tpot.p95 <= (request.objectives.tpot_p95 or 0.0)


def test_fewer_replicas_would_not_do() -> None:
    request = asked()
    found = planned(request)
    assert found.replicas > 1
    fewer = plan(
        replace(
            request,
            max_replicas=found.replicas - 1,
            allow=(found.accelerator,),
            pin=Pin(found.tensor_parallel_size),
        ),
        FEW,
    )
    assert not fewer.feasible
    assert fewer.plan is not None
    assert fewer.plan.predicted.simulated is not None


def test_more_load_never_costs_less() -> None:
    costs = [cost(asked(load)) for load in (1, 3, 8, 9.5, 18, 33)]
    assert costs == sorted(costs)
    assert len(set(costs)) > 3


def test_more_load_never_needs_fewer_replicas() -> None:
    one = replace(asked(), inventory=(L40S,))
    found = [
        planned(replace(one, workload=replace(one.workload, requests_per_second=load))).replicas
        for load in (8, 9, 9.5, 20, 31)
    ]
    assert found == sorted(found)


def test_a_looser_promise_never_costs_more() -> None:
    by_ttft = [cost(asked(ttft=limit)) for limit in (0.1, 0.25, 0.5, 3.0)]
    by_tpot = [cost(asked(tpot=limit)) for limit in (0.01, 0.03, 0.06, 0.1)]
    for costs in (by_ttft, by_tpot):
        assert costs == sorted(costs, reverse=True)
        assert costs[0] > costs[-1]


def test_more_bandwidth_never_costs_more() -> None:
    gpu = find("NVIDIA-L40S")
    assert gpu is not None
    costs = []
    for factor in (1.0, 1.2, 1.6):
        faster = replace(gpu, bandwidth=gpu.bandwidth * factor)
        costs.append(cost(replace(asked(), inventory=(L40S,), accelerators=(faster,))))
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize(
    ("request_", "axes"),
    [
        (
            replace(asked(24), inventory=(L40S,), max_replicas=2),
            ("maxReplicas", "requestsPerSecond", "precision"),
        ),
        (
            replace(asked(), inventory=(L40S,), objectives=Objectives(0.1, 0.06)),
            ("timeToFirstToken", "precision"),
        ),
        (
            replace(asked(4), inventory=(L40S,), objectives=Objectives(0.8, 0.06, 0.1)),
            ("maxCostPerMillionTokens",),
        ),
        (
            replace(asked(60), inventory=(replace(L40S, nodes=1),)),
            ("more node", "requestsPerSecond"),
        ),
    ],
    ids=["replicas", "ttft", "cost", "nodes"],
)
def test_ways_out_hold_when_they_are_taken(request_: PlanRequest, axes: tuple[str, ...]) -> None:
    trials, market = Trials(FEW), search(request_)
    ranked = finals(market, trials)
    assert not ranked[0].feasible
    edges = nearest_edges(Scene(market, tuple(ranked), trials))
    changes = [edge.alternative.change for edge in edges]
    for axis in axes:
        assert any(axis in change for change in changes), (axis, changes)
    for edge in edges:
        assert plan(edge.request, FEW).feasible, edge.alternative


def test_equal_requests_give_equal_bytes() -> None:
    request = replace(asked(24), inventory=(L40S,), max_replicas=2)
    once = plan(request, FEW)
    assert once.alternatives
    assert repr(once) == repr(plan(replace(request), FEW))


def test_trials_are_few_and_remembered() -> None:
    trials, market = Trials(FEW), search(asked())
    first = finals(market, trials)
    count = trials.count
    assert 1 <= count <= 12
    assert finals(market, trials) == first
    assert trials.count == count


def test_without_requests_nothing_is_tried() -> None:
    trials, market = Trials(0), search(asked())
    assert finals(market, trials)[0].measured is None
    assert trials.count == 0
    assert plan(asked()) == plan(asked(), 0)


def test_nothing_that_fits_is_an_answer() -> None:
    result = plan(request_for(models.LLAMA_31_70B, CPU_NODE), FEW)
    assert (result.feasible, result.plan) == (False, None)


def test_a_promise_that_a_request_alone_breaks_is_not_tried_at_ever_lower_rates() -> None:
    """The closed formulas find it kept by a hair, and the simulation at no rate."""
    promised = request_for(
        models.TINY, CPU_NODE, rate=5.0, ttft=0.1, tpot=0.0012, max_replicas=2, context=1024
    )
    trials, market = Trials(FEW), search(promised)
    nearest = finals(market, trials)[0]
    assert not nearest.feasible
    assert nearest.option.sustained == 0
    assert trials.count <= 40


def test_what_was_simulated_tells_its_error_in_the_range() -> None:
    request = asked(4)
    closed, tried = planned(request, 0).predicted, planned(request, 500).predicted
    assert closed.ttft_p95_range is not None
    assert tried.ttft_p95_range is not None
    low, high = (edge / tried.ttft_p95 for edge in tried.ttft_p95_range)
    assert low < closed.ttft_p95_range[0] / closed.ttft_p95
    assert high > closed.ttft_p95_range[1] / closed.ttft_p95


def test_a_shared_prefix_is_found_in_the_cache() -> None:
    plain = asked(4)
    shared = replace(plain, workload=replace(plain.workload, shared_prefix_tokens=400))
    assert planned(shared).predicted.ttft_p95 < planned(plain).predicted.ttft_p95


def test_headroom_is_left() -> None:
    request = asked(9)
    found = planned(request).predicted
    assert found.ttft_p95 <= (request.objectives.ttft_p95 or 0.0) * (1 - HEADROOM) * 1.005
    assert found.tpot_p95 <= (request.objectives.tpot_p95 or 0.0) * (1 - HEADROOM) * 1.005


@pytest.mark.parametrize("promised", [Objectives(), Objectives(tpot_p95=0.06)])
def test_without_a_ttft_queues_do_not_grow_either(promised: Objectives) -> None:
    request = replace(asked(24), inventory=(L40S,), objectives=promised)
    found = planned(request).predicted
    assert found.simulated is not None
    assert found.simulated.queue_p95 < 1.0
    assert found.requests_per_second_per_replica < 16


def test_blocks_that_nobody_can_use_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked()
    option = search(request).bids[0].option
    few = replace(option, engine=replace(option.engine, max_num_seqs=8))
    most = trial._most_blocks(few, 2048, request.workload, caching=False)
    assert 8 * 2048 // BLOCK_SIZE <= most < few.memory.kv_cache_tokens // BLOCK_SIZE
    counted = Trials(FEW).attempt(request.workload, 2048, few, 1.0).measured
    monkeypatch.setattr(trial, "_most_blocks", lambda *_, **__: 1 << 40)
    assert Trials(FEW).attempt(request.workload, 2048, few, 1.0).measured == counted
