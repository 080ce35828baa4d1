"""Limits change while the engine serves, and no answer does."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.request import FinishReason, Request, SamplingParams
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.runner import ModelRunner
from tests.unit.plimsoll_runtime.engine.driving import Collector, submit

MakeEngine = Callable[..., Engine]
Greedy = Callable[[list[int], int], list[int]]


class Gated:
    """A runner that waits before every step until it may go on."""

    def __init__(self, runner: ModelRunner) -> None:
        self.model = runner.model
        self.runner = runner
        self.may_go_on = threading.Semaphore(0)
        self.in_step = threading.Semaphore(0)
        self.steps: list[SchedulerOutput] = []

    def warm_up(self) -> None:
        self.runner.warm_up()

    def execute(self, output: SchedulerOutput) -> StepResult:
        self.steps.append(output)
        self.in_step.release()
        assert self.may_go_on.acquire(timeout=30)
        return self.runner.execute(output)


def request(name: str, prompt: list[int], tenant: str = "", **more: Any) -> Request:
    return Request(name, prompt, SamplingParams(20, temperature=0.0), 0.0, tenant=tenant, **more)


def test_limits_change_between_steps_and_answers_stay_the_same(
    make_engine: MakeEngine, greedy: Greedy
) -> None:
    gates: list[Gated] = []
    engine = make_engine(lambda runner: gates.append(Gated(runner)) or gates[-1])
    gate = gates[0]
    prompts = [[7 + n] * (3 + n) for n in range(6)]
    collectors = submit(engine, *[request(f"r{n}", prompt) for n, prompt in enumerate(prompts)])
    engine.start()
    assert gate.in_step.acquire(timeout=30)
    assert len(gate.steps[0].scheduled) == 6
    engine.set_limits(LiveLimits(max_num_seqs=2, max_num_batched_tokens=4, num_usable_blocks=16))
    assert engine.stats().limits == LiveLimits(2, 4, 16)
    gate.may_go_on.release(10_000)
    answers = [collector.wait() for collector in collectors]
    for prompt, (tokens, last) in zip(prompts, answers, strict=True):
        assert tokens == greedy(prompt, 20)
        assert last.finish_reason is FinishReason.LENGTH
    assert max(len(step.scheduled) for step in gate.steps[1:]) == 2
    assert max(step.num_tokens for step in gate.steps[1:]) <= 4
    assert engine.stats().num_preemptions >= 4


def test_limits_change_while_nothing_is_to_do(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    engine.set_limits(LiveLimits(1, 8, 16))
    (collector,) = submit(engine, request("a", [5, 6, 7]))
    collector.wait()
    stats = engine.stats()
    assert stats.limits == LiveLimits(1, 8, 16)
    assert stats.num_blocks == 64
    engine.set_limits(engine.limits.live)
    assert engine.stats().limits == LiveLimits(8, 32, 64)


def test_what_cannot_be_is_refused_and_changes_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine()
    before = engine.stats().limits
    with pytest.raises(ValueError, match="KV cache of 60 tokens is smaller than max_model_len 64"):
        engine.set_limits(LiveLimits(8, 32, 15))
    assert engine.stats().limits == before
    engine.stop()
    with pytest.raises(EngineFailedError):
        engine.set_limits(before)


def test_who_waits_is_told_before_and_after_the_engine_takes_it(make_engine: MakeEngine) -> None:
    gates: list[Gated] = []
    engine = make_engine(lambda runner: gates.append(Gated(runner)) or gates[-1], seqs=1)
    collectors: list[Collector] = submit(
        engine,
        request("a", [5] * 4, "x"),
        request("b", [5] * 6, "y", priority=1),
        request("c", [5] * 6, "y", priority=1),
    )
    stats = engine.stats()
    assert stats.num_waiting == 3
    assert sum(each.num_tokens for each in stats.waiting) == 16
    engine.start()
    assert gates[0].in_step.acquire(timeout=30)
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting) == (1, 2)
    assert stats.waiting == (QueueCount("y", 1, 2, 12),)
    assert stats.load.seconds_per_step is None
    assert stats.load.mean_output_tokens is None
    gates[0].may_go_on.release(10_000)
    for collector in collectors:
        collector.wait()
    engine.stop()
    stats = engine.stats()
    assert stats.waiting == ()
    assert stats.load.mean_output_tokens == 20
    samples = stats.step_samples[-32:]
    mean = sum(sample.seconds for sample in samples) / len(samples)
    assert stats.load.seconds_per_step == pytest.approx(mean)
    assert stats.load.limits == stats.limits
