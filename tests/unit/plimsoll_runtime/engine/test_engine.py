"""The engine serves concurrent requests as if each were alone, and outlives what goes wrong."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.choice import NOT_FINITE
from plimsoll_runtime.engine.engine import MAX_CONSECUTIVE_FAILURES, Engine
from plimsoll_runtime.engine.errors import INTERNAL_ERROR, EngineFailedError
from plimsoll_runtime.engine.runner import ModelRunner

TIMEOUT = 30.0
MakeEngine = Callable[..., Engine]
Greedy = Callable[[list[int], int], list[int]]


@dataclass
class Collector:
    """Takes the outputs of one request, from the engine's thread."""

    outputs: "queue.Queue[RequestOutput]" = field(default_factory=queue.Queue)

    def __call__(self, output: RequestOutput) -> None:
        self.outputs.put(output)

    def wait(self) -> tuple[list[int], RequestOutput]:
        """All tokens, and the last output."""
        tokens: list[int] = []
        while True:
            output = self.outputs.get(timeout=TIMEOUT)
            tokens += output.new_token_ids
            if output.finish_reason is not None:
                assert self.outputs.empty(), "an output after the last"
                return tokens, output


def request(
    name: str, prompt: list[int], max_tokens: int = 8, arrival: float = 0.0, **sampling: object
) -> Request:
    """A greedy request unless told otherwise."""
    parameters = {"temperature": 0.0} | sampling
    return Request(name, prompt, SamplingParams(max_tokens, **parameters), arrival)  # type: ignore[arg-type]


def submit(engine: Engine, *requests: Request) -> list[Collector]:
    collectors = []
    for item in requests:
        collectors.append(Collector())
        engine.submit(item, collectors[-1])
    return collectors


def prompts(count: int) -> list[list[int]]:
    return [[(7 * i + 3 * j) % 97 for j in range(1 + 5 * i % 29)] for i in range(count)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class Faulty:
    """The real runner, which raises when it is told to and can be held at a step."""

    def __init__(self, real: ModelRunner) -> None:
        self.real = real
        self.failures = 0
        self.broken_warm_up = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def execute(self, output: SchedulerOutput) -> StepResult:
        self.entered.set()
        assert self.gate.wait(TIMEOUT)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("out of luck")
        return self.real.execute(output)

    def warm_up(self) -> None:
        if self.broken_warm_up:
            raise RuntimeError("cold")
        self.real.warm_up()


def faulty(engine: Engine) -> Faulty:
    runner = engine._runner
    assert isinstance(runner, Faulty)
    return runner


def test_greedy_tokens_equal_transformers_with_chunks_preemption_and_neighbours(
    make_engine: MakeEngine, greedy: Greedy
) -> None:
    engine = make_engine(seqs=6, tokens=9, blocks=24)
    work = [request(f"r{i}", p, 20, float(i)) for i, p in enumerate(prompts(24))]
    collectors = submit(engine, *work)
    engine.start()
    for item, collector in zip(work, collectors, strict=True):
        tokens, last = collector.wait()
        assert tokens == greedy(item.prompt_token_ids, 20), item.request_id
        assert last.finish_reason is FinishReason.LENGTH
    stats = engine.stats()
    assert stats.num_preemptions > 0
    assert (stats.num_running, stats.num_waiting, stats.kv_cache_usage) == (0, 0, 0.0)


def test_seeded_tokens_do_not_depend_on_neighbours(make_engine: MakeEngine) -> None:
    def serve(seqs: int, blocks: int) -> list[list[int]]:
        engine = make_engine(seqs=seqs, blocks=blocks)
        work = [
            request(f"r{i}", p, 12, temperature=1.0, top_p=0.9 if i % 2 else 1.0, seed=i)
            for i, p in enumerate(prompts(10))
        ]
        collectors = submit(engine, *work)
        engine.start()
        return [collector.wait()[0] for collector in collectors]

    alone = serve(1, 64)
    assert serve(8, 64) == alone
    assert serve(5, 20) == alone
    assert len({tuple(tokens) for tokens in alone}) > 5


def test_without_a_seed_the_engines_seed_decides(make_engine: MakeEngine) -> None:
    def serve(seed: int) -> list[list[int]]:
        engine = make_engine(seed=seed)
        work = [request(f"r{i}", [5], 12, temperature=1.0) for i in range(2)]
        collectors = submit(engine, *work)
        engine.start()
        return [collector.wait()[0] for collector in collectors]

    first, second = serve(1)
    assert first != second
    assert serve(1) == [first, second]
    assert serve(2) != [first, second]


def test_a_stop_token_ends_a_request(make_engine: MakeEngine, greedy: Greedy) -> None:
    expected = greedy([4, 8], 8)
    engine = make_engine()
    engine.start()
    stop = frozenset({expected[5]})
    (collector,) = submit(engine, request("a", [4, 8], 50, stop_token_ids=stop))
    tokens, last = collector.wait()
    assert tokens == expected[: expected.index(expected[5]) + 1]
    assert last.finish_reason is FinishReason.STOP
    assert last.first_scheduled_time is not None


def test_abort_frees_the_blocks_and_spares_the_others(
    make_engine: MakeEngine, greedy: Greedy
) -> None:
    engine = make_engine(Faulty)
    engine.start()
    runner = faulty(engine)
    runner.gate.clear()
    left, waiting, stays = submit(
        engine, *(request(name, [3, 1], 30) for name in ("left", "waiting", "stays"))
    )
    assert runner.entered.wait(TIMEOUT)
    for name in ("left", "waiting", "nobody"):
        engine.abort(name)
    runner.gate.set()
    assert left.wait()[1].finish_reason is FinishReason.ABORT
    assert waiting.wait()[1].finish_reason is FinishReason.ABORT
    assert stays.wait()[0] == greedy([3, 1], 30)
    assert engine.stats().kv_cache_usage == 0.0


def test_what_cannot_be_served_is_refused_in_the_callers_thread(make_engine: MakeEngine) -> None:
    engine = make_engine(model_len=16)
    for bad, message in (
        (request("a", [1] * 16), "16 tokens"),
        (request("a", []), "no tokens"),
        (request("a", [1, 97]), "token id 97 is not in the vocabulary of 97"),
        (request("a", [-1, 5]), "token id -1"),
        (request("a", [1], max_tokens=-1), "max_tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            submit(engine, bad)
    submit(engine, request("a", [1]))
    with pytest.raises(ValueError, match="'a' is in use"):
        submit(engine, request("a", [1]))


def test_an_id_can_be_used_again_after_its_end(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    for _ in range(3):
        (collector,) = submit(engine, request("again", [1, 2], 2))
        collector.wait()


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


def test_stop_aborts_what_is_left(make_engine: MakeEngine) -> None:
    engine = make_engine(Faulty)
    engine.start()
    faulty(engine).gate.clear()
    collectors = submit(engine, *(request(f"r{i}", [1], 50) for i in range(3)))
    assert faulty(engine).entered.wait(TIMEOUT)
    threading.Timer(0.01, faulty(engine).gate.set).start()
    engine.stop()
    assert all(c.wait()[1].finish_reason is FinishReason.ABORT for c in collectors)
    engine.stop()
    with pytest.raises(EngineFailedError, match="stopped"):
        submit(engine, request("late", [1]))
    assert engine.failed is None


def test_stop_before_start_tells_who_waits(make_engine: MakeEngine) -> None:
    engine = make_engine()
    (collector,) = submit(engine, request("a", [1]))
    engine.stop()
    assert collector.wait()[1].finish_reason is FinishReason.ABORT


def test_a_failed_warm_up_is_told_by_start(make_engine: MakeEngine) -> None:
    engine = make_engine(Faulty)
    faulty(engine).broken_warm_up = True
    (collector,) = submit(engine, request("early", [1]))
    with pytest.raises(EngineFailedError, match="cold"):
        engine.start()
    assert collector.wait()[1].finish_reason is FinishReason.ERROR
    assert not engine.ready


def test_start_only_once(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    assert engine.ready
    with pytest.raises(RuntimeError, match="started already"):
        engine.start()


def test_an_idle_engine_sleeps(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.start()
    submit(engine, request("a", [1], 2))[0].wait()
    thread = engine._thread
    assert thread is not None
    assert thread.native_id is not None
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    time.sleep(0.01)
    before = time.clock_gettime(clock)
    time.sleep(0.05)
    assert time.clock_gettime(clock) - before < 0.001


def test_stats_tell_what_happens(make_engine: MakeEngine) -> None:
    engine = make_engine(Faulty, seqs=1)
    engine.start()
    faulty(engine).gate.clear()
    collectors = submit(engine, *(request(f"r{i}", [1, 2, 3], 3, float(i)) for i in range(3)))
    assert faulty(engine).entered.wait(TIMEOUT)
    wait_until(lambda: engine.stats().num_running == 1)
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting) == (1, 2)
    assert stats.kv_cache_usage == 1 / 64
    assert (stats.num_blocks, stats.block_size) == (64, 4)
    faulty(engine).gate.set()
    for collector in collectors:
        collector.wait()
    wait_until(lambda: engine.stats().num_steps == 9)
    samples = engine.stats().step_samples
    assert [(s.num_tokens, s.num_context_tokens, s.num_pairs, s.num_seqs) for s in samples] == [
        (3, 3, 6, 1),
        (1, 4, 4, 1),
        (1, 5, 5, 1),
    ] * 3
    assert all(s.seconds > 0 for s in samples)


def test_a_step_takes_until_the_next_can_begin(make_engine: MakeEngine) -> None:
    """Delivery counts too, and a pause without work does not."""
    now = [100.0]
    engine = make_engine(clock=lambda: now[0])
    engine.start()
    for _ in range(2):
        now[0] += 1000.0
        ended = threading.Event()

        def deliver(output: RequestOutput, ended: threading.Event = ended) -> None:
            now[0] += 2.0
            if output.finish_reason is not None:
                ended.set()

        engine.submit(request("a", [1], 3), deliver)
        assert ended.wait(TIMEOUT)
        wait_until(lambda: engine.stats().num_running == 0)
    wait_until(lambda: engine.stats().num_steps == 6)
    assert [sample.seconds for sample in engine.stats().step_samples] == [2.0] * 6


def test_stalled_seconds_count_only_while_there_is_work(make_engine: MakeEngine) -> None:
    now = [100.0]
    engine = make_engine(Faulty, clock=lambda: now[0])
    engine.start()
    now[0] = 500.0
    assert engine.stats().stalled_seconds == 0.0
    faulty(engine).gate.clear()
    (collector,) = submit(engine, request("a", [1], 1))
    assert faulty(engine).entered.wait(TIMEOUT)
    assert engine.stats().stalled_seconds == 0.0
    now[0] = 507.0
    assert engine.stats().stalled_seconds == 7.0
    faulty(engine).gate.set()
    collector.wait()
    assert engine.stats().stalled_seconds == 0.0


def test_spare_time_is_used_while_there_is_nothing_to_run(make_engine: MakeEngine) -> None:
    engine = make_engine(Faulty)
    runner, done = faulty(engine), list[int]()

    def work() -> Iterator[None]:
        for i in range(1000):
            done.append(i)
            yield

    engine.spare_work = work()
    engine.start()
    wait_until(lambda: len(done) > 2)
    runner.entered.clear()
    runner.gate.clear()
    (collector,) = submit(engine, request("a", [1, 2, 3], 2))
    assert runner.entered.wait(TIMEOUT)
    before = len(done)
    time.sleep(0.02)
    assert len(done) == before < 1000
    runner.gate.set()
    assert len(collector.wait()[0]) == 2
    wait_until(lambda: engine.spare_work is None)
    assert done == list(range(1000))
    assert len(submit(engine, request("b", [1, 2, 3], 2))[0].wait()[0]) == 2


def test_spare_work_that_fails_is_the_engines_end(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def work() -> Iterator[None]:
        yield
        raise MemoryError("none left")

    engine.spare_work = work()
    engine.start()
    wait_until(lambda: engine.failed is not None)
    assert "none left" in str(engine.failed)
