"""An engine whose runner is gone ends, once, with an error for every request."""

import queue
import threading
import time
from collections.abc import Callable

import pytest

from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine import engine as engine_module
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.execution import RunnerLostError
from plimsoll_runtime.engine.runner import ModelRunner

TIMEOUT = 30.0
MakeEngine = Callable[..., Engine]
LOST = RunnerLostError("rank 3 was ended by SIGKILL")


class Runner:
    """The real one until `act` is set, which is then called in its place."""

    def __init__(self, real: ModelRunner) -> None:
        self.real = real
        self.act: Callable[[], StepResult] | None = None
        self.calls = 0

    def execute(self, output: SchedulerOutput) -> StepResult:
        self.calls += 1
        return self.real.execute(output) if self.act is None else self.act()

    def warm_up(self) -> None:
        self.real.warm_up()


def started(make_engine: MakeEngine) -> tuple[Engine, Runner, list[str]]:
    """An engine, its runner, and a list that gets an item whenever it ends."""
    engine = make_engine(Runner)
    ended: list[str] = []
    engine.on_end = lambda: ended.append("ended")
    engine.start()
    runner = engine._runner
    assert isinstance(runner, Runner)
    return engine, runner, ended


def submit(engine: Engine, name: str) -> "queue.Queue[RequestOutput]":
    box: queue.Queue[RequestOutput] = queue.Queue()
    sampling = SamplingParams(50, temperature=0.0)
    engine.submit(Request(name, [5, 6, 7], sampling, 0.0), box.put)
    return box


def last(box: "queue.Queue[RequestOutput]") -> RequestOutput:
    while True:
        output = box.get(timeout=TIMEOUT)
        if output.finish_reason is not None:
            assert box.empty()
            return output


def raise_lost() -> StepResult:
    raise LOST


def test_a_step_that_finds_the_runner_lost_is_the_last(make_engine: MakeEngine) -> None:
    engine, runner, ended = started(make_engine)
    runner.act = raise_lost
    boxes = [submit(engine, f"r{i}") for i in range(12)]  # more than run at once
    for box in boxes:
        output = last(box)
        assert output.finish_reason is FinishReason.ERROR
        assert output.error == "the engine failed; send the request again"
    assert engine.failed is LOST
    assert runner.calls == 1
    engine.stop()
    assert ended


def test_an_idle_engine_fails_too(make_engine: MakeEngine) -> None:
    engine, _, ended = started(make_engine)
    engine.fail(LOST)
    assert engine.failed is LOST
    assert not engine.ready
    assert ended
    with pytest.raises(EngineFailedError, match="rank 3 was ended by SIGKILL"):
        submit(engine, "late")


def test_a_step_that_hangs_keeps_nobody_waiting(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "FAIL_SECONDS", 0.05)
    engine, runner, _ = started(make_engine)
    entered, release = threading.Event(), threading.Event()

    def hang() -> StepResult:
        entered.set()
        assert release.wait(TIMEOUT)
        return StepResult({"r": 1})

    runner.act = hang
    box = submit(engine, "r")
    assert entered.wait(TIMEOUT)
    start = time.monotonic()
    engine.fail(LOST)
    assert last(box).finish_reason is FinishReason.ERROR
    assert time.monotonic() - start < 5
    release.set()
    engine.stop()
    # The step that came back after all has nobody left to tell.
    assert box.empty()
    assert engine.failed is LOST


def test_the_first_cause_is_kept(make_engine: MakeEngine) -> None:
    engine, runner, _ = started(make_engine)
    runner.act = raise_lost
    last(submit(engine, "r"))
    engine.fail(RuntimeError("an echo"))
    assert engine.failed is LOST


def test_an_engine_that_never_started_ends_as_well(make_engine: MakeEngine) -> None:
    engine = make_engine()
    ended: list[str] = []
    engine.on_end = lambda: ended.append("ended")
    engine.stop()
    assert ended == ["ended"]
