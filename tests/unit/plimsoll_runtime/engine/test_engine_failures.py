"""The engine outlives what goes wrong, or says that it cannot."""

import logging

import pytest

from plimsoll_runtime.core.request import FinishReason, RequestOutput
from plimsoll_runtime.engine.choice import NOT_FINITE
from plimsoll_runtime.engine.engine import MAX_CONSECUTIVE_FAILURES
from plimsoll_runtime.engine.errors import INTERNAL_ERROR, EngineFailedError
from plimsoll_runtime.engine.runner import ModelRunner
from tests.unit.plimsoll_runtime.engine.driving import (
    Faulty,
    Greedy,
    MakeEngine,
    faulty,
    request,
    submit,
    wait_until,
)


def test_logits_that_are_not_finite_end_that_request_alone(
    make_engine: MakeEngine, greedy: Greedy
) -> None:
    def poison(real: ModelRunner) -> ModelRunner:
        # Its keys and values are NaN too, in blocks that others get afterwards.
        embedding = real.model.embed_tokens
        weight = embedding.weight.clone()
        weight[96] = float("nan")
        embedding.matrix = real.model.operations.matrix(weight)
        return real

    engine = make_engine(poison, blocks=16, model_len=32)
    bad = submit(engine, *(request(f"bad{i}", [96] * 13, 9) for i in range(6)))
    good = submit(engine, *(request(f"good{i}", [i, 2, 5], 4) for i in range(6)))
    engine.start()
    for collector in bad:
        tokens, last = collector.wait()
        assert (tokens, last.finish_reason, last.error) == ([], FinishReason.ERROR, NOT_FINITE)
    for i, collector in enumerate(good):
        expected = greedy([i, 2, 5], 4)
        assert 96 not in expected
        assert collector.wait()[0] == expected
    assert engine.failed is None


def test_a_step_that_raises_ends_its_requests_and_no_others(
    make_engine: MakeEngine, greedy: Greedy, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(Faulty, seqs=2)
    runner = faulty(engine)
    runner.failures = 1
    collectors = submit(engine, *(request(f"r{i}", [i, 2], 4, float(i)) for i in range(4)))
    with caplog.at_level(logging.CRITICAL, "plimsoll_runtime.engine.engine"):
        engine.start()
        ends = [collector.wait() for collector in collectors]
    assert [last.error for _, last in ends] == [INTERNAL_ERROR, INTERNAL_ERROR, None, None]
    assert [tokens for tokens, _ in ends[2:]] == [greedy([i, 2], 4) for i in (2, 3)]
    assert engine.stats().kv_cache_usage == 0.0


def test_an_engine_that_keeps_failing_tells_everybody_and_takes_no_more(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(Faulty, seqs=1)
    faulty(engine).failures = MAX_CONSECUTIVE_FAILURES
    work = [request(f"r{i}", [1], 4, float(i)) for i in range(MAX_CONSECUTIVE_FAILURES + 2)]
    collectors = submit(engine, *work)
    engine.start()
    assert all(c.wait()[1].finish_reason is FinishReason.ERROR for c in collectors)
    wait_until(lambda: engine.failed is not None)
    assert not engine.ready
    with pytest.raises(EngineFailedError, match="out of luck"):
        submit(engine, request("late", [1]))


def test_failures_that_do_not_repeat_do_not_add_up(make_engine: MakeEngine) -> None:
    engine = make_engine(Faulty)
    engine.start()
    for _ in range(MAX_CONSECUTIVE_FAILURES + 1):
        faulty(engine).failures = 1
        (collector,) = submit(engine, request("a", [1], 2))
        assert collector.wait()[1].finish_reason is FinishReason.ERROR
        (collector,) = submit(engine, request("a", [1], 2))
        assert collector.wait()[1].finish_reason is FinishReason.LENGTH
    assert engine.ready


def test_a_callback_that_raises_hurts_nobody_else(make_engine: MakeEngine, greedy: Greedy) -> None:
    engine = make_engine()

    def broken(output: RequestOutput) -> None:
        raise RuntimeError("no")

    engine.submit(request("broken", [1], 9), broken)
    (good,) = submit(engine, request("good", [1, 2], 9))
    engine.start()
    assert good.wait()[0] == greedy([1, 2], 9)
    (again,) = submit(engine, request("broken", [1, 2], 9))
    assert again.wait()[0] == greedy([1, 2], 9)
    assert engine.stats().kv_cache_usage == 0.0


def test_a_failed_warm_up_is_told_by_start(make_engine: MakeEngine) -> None:
    engine = make_engine(Faulty)
    faulty(engine).broken_warm_up = True
    (collector,) = submit(engine, request("early", [1]))
    with pytest.raises(EngineFailedError, match="cold"):
        engine.start()
    assert collector.wait()[1].finish_reason is FinishReason.ERROR
    assert not engine.ready
