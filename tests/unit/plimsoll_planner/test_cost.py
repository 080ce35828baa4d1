"""Costs add up: what prompts and outputs pay together is what the replicas cost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_planner.cost import Cost, TokenCost, token_cost
from plimsoll_planner.inputs import AcceleratorPool, Lengths, Objectives, PlanRequest, Workload
from plimsoll_planner.planner import plan
from tests.unit.plimsoll_planner import models

POOL = AcceleratorPool("NVIDIA-L4", 4, 2, price_per_hour=0.8)
REQUEST = PlanRequest(
    model=models.LLAMA_32_1B,
    workload=Workload(6, Lengths(500, 1500), Lengths(200, 500)),
    objectives=Objectives(tpot_p95=0.05),
    inventory=(POOL,),
    max_replicas=6,
)


def cost_of(request: PlanRequest) -> Cost:
    found = plan(request).plan
    assert found is not None
    assert found.cost is not None
    return found.cost


def per_hour(cost: TokenCost, workload: Workload) -> float:
    assert cost.prompt is not None
    assert cost.output is not None
    prompts, outputs = workload.prompt_tokens.mean, workload.output_tokens.mean
    paid = cost.prompt * prompts + cost.output * outputs
    return paid * cost.requests_per_second * 3600 / 1e6


def test_by_hand() -> None:
    """2 an hour for a million prompt and half a million output tokens, shared 1 to 3."""
    workload = Workload(1, Lengths(1000, 1000), Lengths(500, 500))
    assert token_cost(2.0, workload, 1 / 3.6, 0.25) == TokenCost(1 / 3.6, 4.0, 0.5, 3.0)
    assert token_cost(2.0, workload, 1 / 3.6, None) == TokenCost(1 / 3.6, 4.0, None, None)


@given(st.floats(0.01, 100), st.floats(0.01, 1000), st.floats(0.001, 0.999))
def test_parts_pay_for_all_of_it(hourly: float, load: float, share: float) -> None:
    cost = token_cost(hourly, REQUEST.workload, load, share)
    assert hourly * 0.999 <= per_hour(cost, REQUEST.workload) <= hourly * 1.011


def test_of_a_plan() -> None:
    cost = cost_of(REQUEST)
    found = plan(REQUEST).plan
    assert found is not None
    assert cost.per_hour == pytest.approx(0.8 * found.replicas * found.tensor_parallel_size)
    assert cost.planned_load.output_alone == found.predicted.cost_per_million_tokens
    assert cost.full_load is not None
    sustained = found.replicas * found.predicted.requests_per_second_per_replica
    assert cost.full_load.requests_per_second == pytest.approx(sustained)
    for load in (cost.planned_load, cost.full_load):
        assert per_hour(load, REQUEST.workload) == pytest.approx(cost.per_hour, rel=0.011)


def test_longer_prompts_pay_more_of_it() -> None:
    longer = replace(REQUEST.workload, prompt_tokens=Lengths(1500, 4500))
    short, long = (cost_of(replace(REQUEST, workload=w)) for w in (REQUEST.workload, longer))
    assert short.planned_load.output is not None
    assert long.planned_load.output is not None
    shares = [
        1 - cost.planned_load.output / cost.planned_load.output_alone  # type: ignore[operator]
        for cost in (short, long)
    ]
    assert 0 < shares[0] < shares[1] < 1


def test_a_price_that_is_missing() -> None:
    found = plan(replace(REQUEST, inventory=(replace(POOL, price_per_hour=None),))).plan
    assert found is not None
    assert found.cost is None


def test_only_the_cost_is_told_from_all_else() -> None:
    dear = replace(REQUEST.objectives, max_cost_per_million_tokens=0.001)
    assert plan(replace(REQUEST, objectives=dear)).too_dear
    assert not plan(replace(REQUEST, objectives=replace(dear, tpot_p95=1e-5))).too_dear
    assert not plan(REQUEST).too_dear


def test_every_candidate_but_one_says_why_it_lost() -> None:
    candidates = plan(REQUEST).candidates
    assert [item.rejected_because for item in candidates if not item.rejected_because] == [""]
    assert any(
        item.rejected_because.startswith(("feasible, but dearer: ", "as cheap"))
        for item in candidates
    )
    costs = [item.figures.cost_per_hour for item in candidates if item.figures]
    assert None not in costs
