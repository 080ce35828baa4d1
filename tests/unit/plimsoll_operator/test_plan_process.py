"""The process that plans: same answers, told failures, and none left behind."""

import asyncio
import multiprocessing

import pytest

from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.plan_process import PlanProcess, PlanProcessError
from plimsoll_operator.planning.model_source import read_model_config
from plimsoll_operator.planning.request import plan_request
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.planner import plan
from tests.unit.plimsoll_operator.process import EASY

TRIALS = 1


def question() -> PlanRequest:
    model = read_model_config("builtin://tiny", None).model
    return plan_request(parse_spec(EASY), model, (AcceleratorPool("cpu", 8, 1, 32 << 30),))


async def ended(process: PlanProcess) -> None:
    async with asyncio.timeout(5):
        while process.running or multiprocessing.active_children():
            await asyncio.sleep(0.01)


async def test_answers_as_the_planner_does_then_goes_and_comes_back() -> None:
    planner = PlanProcess(TRIALS, idle=0.0)
    assert not planner.running
    request = question()
    assert await planner.plan(request) == plan(request, TRIALS)
    await ended(planner)
    assert (await planner.plan(request)).feasible
    await ended(planner)


async def test_a_process_that_dies_is_told_and_replaced() -> None:
    planner = PlanProcess(TRIALS)
    asked = asyncio.create_task(planner.plan(question()))
    while not multiprocessing.active_children():
        await asyncio.sleep(0.01)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(PlanProcessError, match="has ended"):
        await asked
    assert (await planner.plan(question())).feasible
    planner.close()
    await ended(planner)


async def test_a_search_that_nobody_waits_for_ends_with_the_operator() -> None:
    planner = PlanProcess(TRIALS)
    asked = asyncio.create_task(planner.plan(question()))
    while not multiprocessing.active_children():
        await asyncio.sleep(0.01)
    asked.cancel()
    planner.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await ended(planner)


async def test_closed_formulas_need_no_process() -> None:
    planner = PlanProcess(0)
    request = question()
    assert await planner.plan(request) == plan(request)
    assert not planner.running
