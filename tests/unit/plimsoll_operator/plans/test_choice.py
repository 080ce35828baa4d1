"""A plan stands while what it was made from stays, whatever happens to the nodes."""

from typing import Any

import pytest

from plimsoll_operator.api.status import Feasibility, PlanPrecision, PlanStatus
from plimsoll_operator.plans.choice import Standing, engine_limit, settled, standing, within_engine
from plimsoll_operator.resource import Resource
from tests.unit.plimsoll_operator.samples import cpu_plan, gpu_plan, resource

PLAN, OTHER = cpu_plan(), gpu_plan()
TOO_WIDE = gpu_plan(tensor_parallel_size=16, summary="H200×16 bs64")
NO = Feasibility(binding_constraint="TTFT")


def with_status(generation: int = 1, **status: Any) -> Resource:
    held = {"plan": PLAN.model_dump(by_alias=True, exclude_none=True), **status}
    return resource(metadata={"generation": generation}, status=held)


FEASIBLE = {"planGeneration": 1, "planInputs": "a", "planFeasible": True}
BEST_EFFORT = {**FEASIBLE, "planFeasible": False, "feasibility": {"bindingConstraint": "x"}}


def test_a_settled_plan_needs_no_planning() -> None:
    assert settled(with_status(**FEASIBLE)) == Standing(plan=PLAN, inputs="a")


@pytest.mark.parametrize(
    "unsettled",
    [
        resource(),
        with_status(generation=2, **FEASIBLE),
        with_status(**BEST_EFFORT),
        with_status(planGeneration=1, planFeasible=True),
    ],
)
def test_anything_else_does(unsettled: Resource) -> None:
    assert settled(unsettled) is None


def test_an_edit_that_planning_does_not_see_keeps_the_plan() -> None:
    edited = with_status(generation=2, **FEASIBLE)
    for infeasible in (None, NO):
        answer = standing(edited, "a", OTHER, infeasible, best_effort=False)
        assert answer == Standing(plan=PLAN, inputs="a")


def test_an_edit_that_planning_sees_takes_the_new_plan() -> None:
    edited = with_status(generation=2, **FEASIBLE)
    assert standing(edited, "b", OTHER, None, best_effort=False) == Standing(OTHER, "b")


def test_infeasible_is_refused_or_done_as_well_as_can_be() -> None:
    assert standing(resource(), "b", OTHER, NO, best_effort=False) == Standing(feasibility=NO)
    assert standing(resource(), "b", OTHER, NO, best_effort=True) == Standing(OTHER, "b", NO)
    assert standing(resource(), "b", None, NO, best_effort=True) == Standing(None, "", NO)


def test_a_best_effort_plan_gives_way_only_to_a_feasible_one() -> None:
    running = with_status(**BEST_EFFORT)
    assert standing(running, "a", OTHER, NO, best_effort=True) == Standing(PLAN, "a", NO)
    assert standing(running, "a", OTHER, None, best_effort=True) == Standing(OTHER, "a")


def test_after_a_refused_edit_the_old_spec_finds_its_plan_again() -> None:
    refused = with_status(generation=3, feasibility={"bindingConstraint": "x"}, **FEASIBLE)
    assert standing(refused, "a", OTHER, None, best_effort=False) == Standing(PLAN, "a")


@pytest.mark.parametrize("infeasible", [None, NO])
def test_a_plan_that_the_engine_cannot_run_is_told_and_not_taken(
    infeasible: Feasibility | None,
) -> None:
    limit = engine_limit(TOO_WIDE)
    assert limit is not None
    assert limit.reason == "EngineLimit"
    for part in (
        TOO_WIDE.summary,
        "tensorParallelSize 16",
        "at most 8 accelerators",
        "smaller model",
    ):
        assert part in limit.message
    answer = standing(resource(), "b", TOO_WIDE, infeasible, best_effort=True)
    assert answer == Standing(feasibility=infeasible, trouble=limit, beyond=TOO_WIDE)


@pytest.mark.parametrize("resource_name", ["amd.com/gpu", "habana.ai/gaudi", "acme.com/x"])
def test_a_plan_for_what_the_image_has_no_software_for_is_told(resource_name: str) -> None:
    limit = engine_limit(PLAN.model_copy(update={"resource_name": resource_name}))
    assert limit is not None
    assert limit.reason == "EngineLimit"
    assert f"({resource_name}), and the engine runs on NVIDIA GPUs and on CPU" in limit.message
    assert engine_limit(PLAN.model_copy(update={"resource_name": "nvidia.com/mig-1g.5gb"})) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"precision": PlanPrecision(weights="FP8", kv_cache="BF16")},
            "has weights in FP8, and the engine runs BF16 or FP32 only",
        ),
        (
            {"precision": PlanPrecision(weights="BF16", kv_cache="FP32")},
            "has its KV cache in FP32 and its weights in BF16",
        ),
        ({"pipeline_parallel_size": 2}, "needs pipelineParallelSize 2"),
        ({"expert_parallel": True}, "needs expert parallelism"),
    ],
)
def test_what_only_the_planner_can_do_is_told(changes: dict[str, object], said: str) -> None:
    limit = engine_limit(OTHER.model_copy(update=changes))
    assert limit is not None
    assert limit.reason == "EngineLimit"
    assert said in limit.message


@pytest.mark.parametrize("plan", [PLAN, OTHER])
def test_a_plan_that_the_engine_can_run_has_no_limit(plan: PlanStatus) -> None:
    assert engine_limit(plan) is None


def test_a_stored_plan_that_the_engine_cannot_run_does_not_stand() -> None:
    stored = with_status(**{**FEASIBLE, "plan": TOO_WIDE.model_dump(by_alias=True)})
    assert settled(stored) is None
    assert standing(stored, "a", PLAN, None, best_effort=False).beyond == TOO_WIDE


def test_a_plan_for_a_model_that_the_engine_does_not_serve_is_told_and_not_taken() -> None:
    possible = standing(resource(), "b", PLAN, None, best_effort=False)
    answer = within_engine(possible, "architectures [X]")
    assert within_engine(possible) == possible
    assert answer.plan is None
    assert answer.beyond == PLAN
    assert answer.trouble is not None
    assert answer.trouble.reason == "EngineLimit"
    assert "does not serve: architectures [X]" in answer.trouble.message
