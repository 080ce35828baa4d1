"""The process that plans: same answers, told failures, and none left behind."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any

import pytest

from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.plan_service import plan_worker
from plimsoll_operator.plan_service.plan_process import PlanProcess, PlanProcessError
from plimsoll_operator.planning.model_source import read_model_config
from plimsoll_operator.planning.request import plan_request
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.planner import plan
from tests.unit.plimsoll_operator.process import EASY

TRIALS = 1


def question() -> PlanRequest:
    model = read_model_config("builtin://tiny", None).model
    return plan_request(parse_spec(EASY), model, (AcceleratorPool("cpu", 8, 1, 32 << 30),))


async def ended(pid: int) -> None:
    """Returns once the process is gone, and nobody has still to ask how it ended."""
    async with asyncio.timeout(20):
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                await asyncio.sleep(0.01)


async def begun(planner: PlanProcess) -> int:
    while planner.pid is None:
        await asyncio.sleep(0.01)
    return planner.pid


async def test_answers_as_the_planner_does_then_goes_and_comes_back() -> None:
    planner = PlanProcess(TRIALS, idle=0.0)
    assert planner.pid is None
    request = question()
    asked = asyncio.create_task(planner.plan(request))
    first = await begun(planner)
    assert await asked == plan(request, TRIALS)
    await ended(first)
    assert planner.pid is None
    asked = asyncio.create_task(planner.plan(request))
    second = await begun(planner)
    assert (await asked).feasible
    await ended(second)


async def test_a_process_that_dies_is_told_and_replaced() -> None:
    planner = PlanProcess(TRIALS)
    asked = [asyncio.create_task(planner.plan(question())) for _ in range(2)]
    pid = await begun(planner)
    os.kill(pid, signal.SIGKILL)
    for each in asked:  # the one that waited behind it too
        with pytest.raises(PlanProcessError, match="has ended"):
            await each
    await ended(pid)
    assert (await planner.plan(question())).feasible
    (pid, _) = (await begun(planner), planner.close())
    await ended(pid)


async def test_a_search_that_nobody_waits_for_ends_with_the_operator() -> None:
    planner = PlanProcess(TRIALS)
    asked = asyncio.create_task(planner.plan(question()))
    pid = await begun(planner)
    asked.cancel()
    planner.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await ended(pid)


async def test_an_answer_that_nobody_waits_for_is_not_the_next_ones() -> None:
    planner = PlanProcess(TRIALS)
    other = plan_request(
        parse_spec(EASY),
        read_model_config("builtin://tiny", None).model,
        (AcceleratorPool("cpu", 2, 1, 32 << 30),),
    )
    left = asyncio.create_task(planner.plan(question()))
    pid = await begun(planner)
    left.cancel()
    assert await planner.plan(other) == plan(other, TRIALS)
    planner.close()
    await ended(pid)


def test_it_ends_with_whoever_asks_in_the_midst_of_a_search() -> None:
    ours, theirs = socket.socketpair()
    script = (
        "import sys, time; from plimsoll_operator.plan_service import plan_worker\n"
        "serve = plan_worker.serve\n"
        "plan_worker.serve = lambda connection: serve(connection, time.sleep)\n"
        "plan_worker.main(int(sys.argv[1]))"
    )
    number = str(theirs.fileno())
    process = subprocess.Popen(  # noqa: S603 - a script of ours
        [sys.executable, "-c", script, number], pass_fds=(theirs.fileno(),)
    )
    theirs.close()
    connection: Connection[Any, Any] = Connection(ours.detach())
    connection.send((0.0,))
    assert connection.recv()
    connection.send((600.0,))
    connection.close()
    assert process.wait(20) == 1


@pytest.fixture
def worker() -> Iterator["Connection[Any, Any]"]:
    """The other end of a worker in a thread."""
    ours, theirs = Pipe()
    thread = threading.Thread(target=plan_worker.serve, args=(theirs,))
    thread.start()
    yield ours
    ours.close()
    thread.join()
    theirs.close()


def test_what_makes_no_sense_is_told_and_the_next_question_answered(
    worker: "Connection[Any, Any]",
) -> None:
    worker.send((question(), -1, "too many"))
    assert isinstance(worker.recv(), TypeError)
    worker.send((question(), 0))
    result, seconds = worker.recv()
    assert result == plan(question(), 0)
    assert seconds > 0


def test_it_imports_nothing_of_the_operator() -> None:
    script = "import sys, plimsoll_operator.plan_service.plan_worker; print(*sys.modules)"
    found = subprocess.run(  # noqa: S603 - a script of ours
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "plimsoll_planner.planner" in found
    heavy = {"kopf", "kubernetes", "httpx", "aiohttp", "pydantic", "prometheus_client", "numpy"}
    assert not heavy & set(found)
    ours = {name for name in found if name.startswith("plimsoll_operator.")}
    package = "plimsoll_operator.plan_service"
    assert ours == {package, f"{package}.plan_worker"}


async def test_closed_formulas_need_no_process() -> None:
    planner = PlanProcess(0)
    request = question()
    assert await planner.plan(request) == plan(request)
    assert planner.pid is None
