"""What the engine tells of itself."""

import threading

from plimsoll_runtime.core.request import RequestOutput
from tests.unit.plimsoll_runtime.engine.driving import (
    TIMEOUT,
    Faulty,
    MakeEngine,
    faulty,
    request,
    submit,
    wait_until,
)


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
