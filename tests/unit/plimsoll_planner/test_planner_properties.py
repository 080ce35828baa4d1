"""What holds of every plan, whatever is asked."""

import math
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerators import CATALOGUE, find
from plimsoll_planner.inputs import (
    AcceleratorPool,
    Lengths,
    Objectives,
    Pin,
    PlanRequest,
    Workload,
)
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult
from plimsoll_planner.search.alternatives import nearest_edges
from plimsoll_planner.search.finalists import finals
from plimsoll_planner.search.infeasible_request import Scene
from plimsoll_planner.search.products import CPU_BYTES_PER_CORE
from plimsoll_planner.search.search import search
from plimsoll_planner.search.trial import Trials
from tests.unit.plimsoll_planner import models

QUICK = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

lengths = st.builds(
    lambda mean, ratio: Lengths(mean, math.ceil(mean * ratio)),
    st.integers(1, 4000),
    st.floats(1, 5),
)
pools = st.builds(
    AcceleratorPool,
    st.sampled_from([*(item.name for item in CATALOGUE), "H200", "Acme-X1"]),
    st.integers(1, 16),
    st.integers(1, 4),
    st.none(),
    st.none() | st.floats(0.01, 10),
)
gpus = st.builds(
    AcceleratorPool,
    st.sampled_from(["NVIDIA-L40S", "NVIDIA-A100-SXM4-80GB", "NVIDIA-H200", "NVIDIA-B200"]),
    st.integers(4, 8),
    st.integers(1, 4),
    st.none(),
    st.floats(0.01, 10),
)
pins = st.builds(
    Pin,
    st.none() | st.integers(1, 8),
    st.none() | st.integers(1, 512),
    st.none() | st.integers(512, 20_000),
    st.none() | st.integers(1, 2**36),
)
requests = st.builds(
    PlanRequest,
    model=st.sampled_from(
        [
            models.TINY,
            models.SMOLLM2_135M,
            models.LLAMA_32_1B,
            models.LLAMA_31_8B,
            models.LLAMA_31_70B,
            models.LLAMA_2_7B,
        ]
    ),
    workload=st.builds(Workload, st.floats(0.001, 200), lengths, lengths, st.just(0)),
    objectives=st.builds(
        Objectives,
        st.none() | st.floats(0.001, 20),
        st.none() | st.floats(0.0005, 2),
        st.none() | st.floats(0.001, 100),
    ),
    inventory=st.lists(pools, max_size=3).map(tuple),
    allow=st.just(()) | st.just(("cpu", "H200", "L4")),
    max_accelerators_per_replica=st.integers(1, 16),
    weights_precision=st.sampled_from(["Auto", "BF16", "FP32"]),
    kv_cache_precision=st.sampled_from(["Auto", "BF16", "FP32"]),
    max_context_length=st.none() | st.integers(16, 100_000),
    min_replicas=st.just(1),
    max_replicas=st.integers(1, 8),
    pin=st.just(Pin()) | pins,
)


@given(requests)
@QUICK
def test_every_plan_is_sound(request: PlanRequest) -> None:
    result = plan(request)
    assert result.binding_constraint
    found = result.plan
    if found is None:
        assert not result.feasible
        return
    facts, pin = model_facts(request.model), request.pin
    assert facts.divides_into(found.tensor_parallel_size)
    assert found.replicas <= request.max_replicas or not result.feasible
    assert found.kv_cache_tokens >= found.max_model_len
    assert found.max_num_batched_tokens >= found.max_num_seqs >= 1
    # One option of the engine, --dtype, sets both.
    assert found.kv_cache_precision == found.weights_precision
    for wanted, has in (
        (pin.tensor_parallel_size, found.tensor_parallel_size),
        (pin.max_num_seqs, found.max_num_seqs),
        (pin.max_num_batched_tokens, found.max_num_batched_tokens),
    ):
        assert wanted in (None, has)
    pool = next(p for p in request.inventory if p.accelerator == found.accelerator)
    accelerator = find(pool.accelerator)
    assert accelerator is not None
    if found.cpu_cores is None:
        assert found.tensor_parallel_size <= request.max_accelerators_per_replica
        assert found.memory_bytes <= 0.9 * accelerator.memory_bytes
    else:
        cores = max(p.count for p in request.inventory if p.accelerator == "cpu")
        assert found.memory_bytes <= cores * CPU_BYTES_PER_CORE
    for figure in (found.predicted.ttft_p95, found.predicted.tpot_p95):
        assert 0 < figure < math.inf


easy = st.builds(
    replace,
    requests,
    workload=st.builds(Workload, st.floats(0.001, 5), lengths, lengths),
    inventory=st.lists(gpus, min_size=1, max_size=2).map(tuple),
    allow=st.just(()),
    pin=st.just(Pin()),
    weights_precision=st.just("Auto"),
)


@given(easy)
@QUICK
def test_feasible_plans_keep_their_promises(request: PlanRequest) -> None:
    result = plan(request)
    assume(result.feasible)
    assert result.plan is not None
    predicted, promised = result.plan.predicted, request.objectives
    served = result.plan.replicas * predicted.requests_per_second_per_replica
    assert served >= request.workload.requests_per_second * (1 - 1e-6)
    if promised.ttft_p95 is not None:
        assert predicted.ttft_p95 <= promised.ttft_p95
    if promised.tpot_p95 is not None:
        assert predicted.tpot_p95 <= promised.tpot_p95
    if promised.max_cost_per_million_tokens is not None:
        assert predicted.cost_per_million_tokens is not None
        assert predicted.cost_per_million_tokens <= promised.max_cost_per_million_tokens * 1.01


@given(requests)
@QUICK
def test_equal_requests_give_equal_results(request: PlanRequest) -> None:
    assert repr(plan(request)) == repr(plan(replace(request)))


@given(requests)
@QUICK
def test_alternatives_are_really_feasible(request: PlanRequest) -> None:
    result = plan(request)
    assume(not result.feasible)
    market, trials = search(request), Trials(0)
    edges = nearest_edges(Scene(market, tuple(finals(market, trials)), trials))
    assert tuple(edge.alternative for edge in edges) == result.alternatives
    for edge in edges:
        assert plan(edge.request).feasible, edge.alternative


@given(easy, st.floats(1.0, 4.0))
@QUICK
def test_a_looser_promise_stays_feasible_and_costs_no_more(
    request: PlanRequest, factor: float
) -> None:
    request = replace(request, pin=Pin(), objectives=replace(request.objectives, ttft_p95=None))
    tpot = request.objectives.tpot_p95
    assume(tpot is not None)
    assert tpot is not None
    looser = replace(request, objectives=replace(request.objectives, tpot_p95=tpot * factor))
    tight, loose = plan(request), plan(looser)
    if tight.feasible:
        assert loose.feasible
        assert _cost(request, loose) <= _cost(request, tight) * (1 + 1e-9)


def _cost(request: PlanRequest, result: PlanResult) -> float:
    """By price where the ranking can go by price, else by bandwidth."""
    found = result.plan
    assert found is not None
    accelerator = find(found.accelerator)
    assert accelerator is not None
    count = (found.cpu_cores or found.tensor_parallel_size) * found.replicas
    if any(pool.price_per_hour is None for pool in request.inventory):
        return accelerator.bandwidth * count
    prices = [p.price_per_hour for p in request.inventory if p.accelerator == found.accelerator]
    return max(price for price in prices if price is not None) * count
