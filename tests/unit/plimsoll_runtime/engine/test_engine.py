"""The engine serves concurrent requests as if each were alone."""

import threading
import time
from collections.abc import Iterator

import pytest

from plimsoll_runtime.core.request import FinishReason
from plimsoll_runtime.engine.errors import EngineFailedError
from tests.unit.plimsoll_runtime.engine.driving import (
    TIMEOUT,
    Faulty,
    Greedy,
    MakeEngine,
    faulty,
    prompts,
    request,
    submit,
    wait_until,
)


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
