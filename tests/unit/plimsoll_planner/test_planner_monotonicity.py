"""What more of something may never do to a plan: load, time, money, or hardware."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import (
    AcceleratorPool,
    Lengths,
    Objectives,
    Pin,
    PlanRequest,
    Workload,
)
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult
from tests.unit.plimsoll_planner import models

QUICK = settings(max_examples=8, deadline=None, derandomize=True)

lengths = st.builds(
    lambda mean, more: Lengths(mean, mean + more), st.integers(8, 2000), st.integers(0, 2000)
)
requests = st.builds(
    lambda model, rate, prompt, output, ttft, tpot, product, size: PlanRequest(
        model=model,
        workload=Workload(rate, prompt, output),
        objectives=Objectives(ttft, tpot),
        inventory=(AcceleratorPool(product, 8, 4, price_per_hour=1.0),),
        max_context_length=8192,
        max_replicas=16,
        pin=Pin(tensor_parallel_size=size),
    ),
    st.sampled_from([models.LLAMA_32_1B, models.LLAMA_31_8B]),
    st.floats(0.1, 40),
    lengths,
    lengths,
    st.floats(0.2, 5),
    st.floats(0.01, 0.2),
    st.sampled_from(["NVIDIA-L40S", "NVIDIA-A100-SXM4-80GB", "NVIDIA-H200"]),
    st.sampled_from([None, 1, 2]),
)
factors = st.floats(1.0, 4.0)


def hourly(result: PlanResult) -> float:
    """At 1 an hour for each accelerator."""
    assert result.plan is not None
    return result.plan.replicas * result.plan.tensor_parallel_size


@given(requests, factors)
@QUICK
def test_more_load_never_needs_fewer_replicas(request: PlanRequest, factor: float) -> None:
    """Of one shape; free to choose another, it never costs less."""
    rate = request.workload.requests_per_second * factor
    busier = plan(replace(request, workload=replace(request.workload, requests_per_second=rate)))
    assume(busier.feasible)
    quieter = plan(request)
    assert quieter.feasible
    assert hourly(busier) >= hourly(quieter)
    if request.pin.tensor_parallel_size is not None:
        assert busier.plan is not None
        assert quieter.plan is not None
        assert busier.plan.replicas >= quieter.plan.replicas


@pytest.mark.parametrize("loosened", ["ttft_p95", "tpot_p95", "max_cost_per_million_tokens"])
@given(requests, factors, st.floats(0.1, 50))
@settings(QUICK, max_examples=4)
def test_a_looser_objective_never_costs_more(
    loosened: str, request: PlanRequest, factor: float, price: float
) -> None:
    bounded = replace(request.objectives, max_cost_per_million_tokens=price)
    looser = replace(bounded, **{loosened: getattr(bounded, loosened) * factor})
    tight = plan(replace(request, objectives=bounded))
    assume(tight.feasible)
    loose = plan(replace(request, objectives=looser))
    assert loose.feasible
    assert hourly(loose) <= hourly(tight)


@pytest.mark.parametrize("grown", ["bandwidth", "memory_bytes"])
@given(requests, factors)
@QUICK
def test_better_hardware_never_needs_more_of_it(
    grown: str, request: PlanRequest, factor: float
) -> None:
    product = find(request.inventory[0].accelerator)
    assert product is not None
    better = replace(
        product, **{grown: type(getattr(product, grown))(getattr(product, grown) * factor)}
    )
    plain = plan(request)
    assume(plain.feasible)
    found = plan(replace(request, accelerators=(better,)))
    assert found.feasible
    assert hourly(found) <= hourly(plain)
