"""What is remembered of closed formulas is what they say."""

from dataclasses import replace

import pytest

from plimsoll_planner.inputs import Objectives, Pin, PlanRequest
from plimsoll_planner.search import memo as remembered
from plimsoll_planner.search.memo import Remembered
from plimsoll_planner.search.options import DoesNotFitError, options, sustained_rate
from plimsoll_planner.search.search import demand_of, search
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models import H200_NODE, L4_NODES, request_for

REQUEST = request_for(models.LLAMA_31_8B, L4_NODES, H200_NODE)
OTHERS = (
    replace(REQUEST, objectives=Objectives(ttft_p95=0.3, tpot_p95=0.05)),
    replace(REQUEST, objectives=Objectives()),
    replace(REQUEST, max_context_length=2048),
    replace(REQUEST, pin=Pin(max_num_batched_tokens=1024)),
    replace(REQUEST, reserves=(("NVIDIA-H200", 2**33),)),
    replace(REQUEST, weights_precision="FP8"),
    request_for(models.LLAMA_31_70B, L4_NODES, H200_NODE),
)


def shape_on_h200(weights: str = "BF16") -> Shape:
    found = next(bid.shape for bid in search(REQUEST).bids if bid.shape.label == "NVIDIA-H200")
    return replace(found, weights=weights)


@pytest.mark.parametrize("request_", OTHERS)
def test_no_search_gets_what_another_one_asked_for(request_: PlanRequest) -> None:
    known = Remembered()
    search(REQUEST, known)
    assert search(request_, known) == search(request_)


def test_load_nodes_and_costs_need_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    market = search(REQUEST)
    monkeypatch.setattr(remembered, "options", None)
    dearer = replace(REQUEST.objectives, max_cost_per_million_tokens=0.01)
    for other in (
        replace(REQUEST, workload=replace(REQUEST.workload, requests_per_second=0.5)),
        replace(REQUEST, max_replicas=99, objectives=dearer),
        replace(REQUEST, inventory=(replace(H200_NODE, nodes=7, price_per_hour=3.0),)),
    ):
        assert search(other, market.remembered).bids


def test_rates_are_those_of_the_formulas() -> None:
    known, demand = Remembered(), demand_of(REQUEST)
    for option in options(demand, shape_on_h200(), 100 * 2**30)[:2]:
        for slack in (1.0, 1.25, 1.0):
            told = known.sustained(option, demand, slack)
            assert told == sustained_rate(option.engine, option.memory, demand, slack)


def test_what_does_not_fit_does_not_fit_again() -> None:
    known, demand = Remembered(), demand_of(REQUEST)
    told = []
    for _ in range(2):
        with pytest.raises(DoesNotFitError, match=r"the model needs 15\.0Gi") as caught:
            known.options(demand, shape_on_h200(), 2**30)
        told.append((str(caught.value), caught.value.shortfall))
    assert told[0] == told[1]
