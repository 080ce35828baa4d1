"""Decode steps over static inputs against the same steps without, where a row's result does not
depend on what is beside it: by the CPU's kernels, bit for bit. Only capture and replay are not
CUDA's."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import AttentionMetadata, SequenceSpan
from plimsoll_runtime.attention.native import NativeAttention
from plimsoll_runtime.core.cuda_graphs import WORKSPACE_BYTES, batch_sizes, graph_bytes
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.engine.decode_graphs import (
    CAPTURE_SECONDS,
    DecodeGraphs,
    StaticInputs,
    probe,
)
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.kernels.library import KernelsUnavailableError, load_kernels
from tests.unit.plimsoll_runtime.engine.driving import prompts, request, submit
from tests.unit.plimsoll_runtime.engine.graph_steps import Again, Traffic

LIMITS = EngineLimits(12, 64, 64, 100, 4)
MakeRunner = Callable[..., ModelRunner]
MODEL_LEN = 128


class StaticNative(NativeAttention):
    """With padding's slot, which no step of the CPU writes to and the kernels' guard refuses."""

    def plan(self, metadata: AttentionMetadata) -> None:
        slots = metadata.slot_mapping
        super().plan(replace(metadata, slot_mapping=torch.zeros_like(slots)))
        self._metadata = metadata
        self._step.slot_mapping = slots.data_ptr()


def graphs_of(
    runner: ModelRunner, sizes: Sequence[int] = batch_sizes(12), recorder: Again | None = None
) -> DecodeGraphs:
    try:
        kernels = load_kernels()
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
    with torch.inference_mode():
        return DecodeGraphs(
            runner.model,
            runner.cache,
            recorder or Again(),
            lambda: StaticNative(runner.cache, kernels),
            sizes,
        )


def captured(runner: ModelRunner, sizes: Sequence[int] = batch_sizes(12)) -> DecodeGraphs:
    graphs = graphs_of(runner, sizes)
    runner.capture(graphs)
    return graphs


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", [batch_sizes(12), (12,)])
def test_equal_to_eager_steps_in_every_batch(make_runner: MakeRunner, sizes: list[int]) -> None:
    plain, graphed = make_runner(LIMITS), make_runner(LIMITS)
    assert captured(graphed, sizes).sizes == tuple(sizes)
    graphed.cache.pages.zero_()
    traffic = Traffic(plain, graphed, seed=1)
    for length in random.Random(0).sample(range(1, 25), 12):
        traffic.prompt(length)
    for count in (*range(1, 13), *range(12, 0, -1)):
        traffic.decode(count, same)


def test_what_a_graph_gave_stays_out_of_the_next_step(make_runner: MakeRunner) -> None:
    """Padding meets tokens, tables and lengths of the step before in the same memory."""
    plain, graphed = make_runner(LIMITS), make_runner(LIMITS)
    captured(graphed)
    graphed.cache.pages.zero_()
    traffic = Traffic(plain, graphed, seed=2)
    for length in (40, 39, 38, 1, 2):
        traffic.prompt(length)
    rng = random.Random(3)
    for _ in range(20):
        traffic.decode(rng.choice((1, 3, 5)), same)


def test_an_engine_says_the_same_with_graphs(
    make_engine: Callable[..., Engine], greedy: Callable[[list[int], int], list[int]]
) -> None:
    """With prompts among decodes, and preemption."""
    recorder = Again()

    def with_graphs(runner: ModelRunner) -> ModelRunner:
        runner.capture(graphs_of(runner, batch_sizes(6), recorder))
        return runner

    engine = make_engine(runner=with_graphs, seqs=6, tokens=9, blocks=24)
    work = [request(f"r{i}", prompt, 20) for i, prompt in enumerate(prompts(12))]
    before = recorder.replays
    collectors = submit(engine, *work)
    engine.start()
    for item, collector in zip(work, collectors, strict=True):
        assert collector.wait()[0] == greedy(item.prompt_token_ids, 20)
    assert recorder.replays > before + 10


def test_steps_without_a_graph_are_left_to_others(make_runner: MakeRunner) -> None:
    runner = make_runner(LIMITS)
    graphs = captured(runner, [2])
    one = SequenceSpan(0, 1, [0])
    with torch.inference_mode():
        assert graphs.run(Step([1, 1, 1], [one] * 3, [], [])) is None
        assert graphs.run(Step([1, 1], [SequenceSpan(0, 2, [0])], [], [])) is None
        assert graphs.run(Step([1, 1, 1], [one, SequenceSpan(3, 2, [1, 2])], [], [])) is None
        assert graphs.run(Step([], [], [], [])) is None
        found = graphs.run(Step([1], [one], [], []))
    assert found is not None
    assert found.shape == (1, 32)


def test_the_largest_comes_first(make_runner: MakeRunner) -> None:
    taken: list[int] = []

    class Noting(Again):
        def record(self, compute: Callable[[], None]) -> Callable[[], None]:
            taken.append(compute.args[0])  # type: ignore[attr-defined]
            return super().record(compute)

    runner = make_runner(LIMITS)
    runner.capture(graphs_of(runner, (1, 2, 4, 8), Noting()))
    assert taken == [8, 4, 2, 1]
    assert "CUDA graphs of 4 batch sizes up to 8 (" in runner.attention_path


def test_a_graph_that_says_something_else_is_not_used(
    make_runner: MakeRunner, caplog: pytest.LogCaptureFixture
) -> None:
    """The one of 4 replays what it computed first, whatever the inputs are."""

    class Frozen(Again):
        def record(self, compute: Callable[[], None]) -> Callable[[], None]:
            replay = super().record(compute)
            return (lambda: None) if self.count == 2 else replay

    plain, graphed = make_runner(LIMITS), make_runner(LIMITS)
    graphs = graphs_of(graphed, (1, 2, 4, 8), Frozen())
    with caplog.at_level(logging.WARNING):
        graphed.capture(graphs)
    assert graphs.sizes == (1, 2, 8)
    assert "batch size 4 does not give what its kernels give" in caplog.text
    traffic = Traffic(plain, graphed, seed=5)
    graphed.cache.pages.zero_()
    for length in (3, 9, 5, 1):
        traffic.prompt(length)
    for count in (4, 3, 2, 1):
        traffic.decode(count, same)


@pytest.mark.parametrize("wrong", ["token_ids", "_seq_lens", "_slot_mapping", "_block_tables"])
def test_an_input_that_is_not_read_again_is_found(make_runner: MakeRunner, wrong: str) -> None:
    """As where a copy of it went into the graph."""

    class Deaf(Again):
        def record(self, compute: Callable[[], None]) -> Callable[[], None]:
            stale = getattr(graphs._inputs, wrong).clone()
            replay = super().record(compute)

            def deaf() -> None:
                getattr(graphs._inputs, wrong).copy_(stale)
                replay()

            return deaf

    runner = make_runner(LIMITS)
    graphs = graphs_of(runner, (4, 8), Deaf())
    runner.capture(graphs)
    assert graphs.sizes == ()


def test_nan_is_no_agreement(make_runner: MakeRunner) -> None:
    runner = make_runner(LIMITS)
    with torch.inference_mode():
        runner.model.norm.weight.fill_(1.0)
        runner.model.layers[0].input_layernorm.weight.fill_(float("nan"))
    assert captured(runner).sizes == ()


def test_a_capture_that_fails_leaves_steps_as_they_were(
    make_runner: MakeRunner, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Again):
        def record(self, compute: Callable[[], None]) -> Callable[[], None]:
            if self.count == 1:
                raise RuntimeError("operation not permitted when stream is capturing")
            return super().record(compute)

    plain, graphed = make_runner(LIMITS), make_runner(LIMITS)
    recorder = Failing()
    with caplog.at_level(logging.WARNING):
        graphed.capture(graphs_of(graphed, (1, 2), recorder))
    assert "does not try: operation not permitted" in caplog.text
    assert "CUDA" not in graphed.attention_path
    replays = recorder.replays
    traffic = Traffic(plain, graphed, seed=6)
    traffic.prompt(5)
    graphed.cache.pages.copy_(plain.cache.pages)
    traffic.decode(1, same)
    assert recorder.replays == replays


def test_it_stops_when_time_is_up(
    make_runner: MakeRunner, caplog: pytest.LogCaptureFixture
) -> None:
    now = iter([0.0, 0.0, CAPTURE_SECONDS - 1, CAPTURE_SECONDS + 1, CAPTURE_SECONDS + 1])
    runner = make_runner(LIMITS)
    graphs = graphs_of(runner)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        graphs.capture(runner._eager, lambda: next(now))
    assert graphs.sizes == (8, 12)
    assert "no time or memory left for graphs up to size 4" in caplog.text


def test_it_stops_when_memory_is_used_up(make_runner: MakeRunner) -> None:
    runner = make_runner(LIMITS)
    graphs = graphs_of(runner, recorder=Again(taken=(graph_bytes(2) + WORKSPACE_BYTES) // 2 + 1))
    runner.capture(graphs)
    assert graphs.sizes == (8, 12)


@given(st.integers(1, 40), st.integers(0, 3), st.integers(1, 60), st.sampled_from([1, 4, 16]))
def test_probes_stay_in_the_cache_and_share_no_slot(
    size: int, prefix: int, num_blocks: int, block_size: int
) -> None:
    prefix = min(prefix, num_blocks // 2)
    prompt, decode = probe(size, prefix, num_blocks, block_size, 97)
    assert 1 <= len(decode.spans) <= min(size, num_blocks)
    for step in (prompt, decode):
        assert len(step.token_ids) == sum(span.query_len for span in step.spans)
        assert all(0 <= token < 97 for token in step.token_ids)
    own = [span.block_ids[span.start // block_size] for span in decode.spans]
    assert len(set(own)) == len(own)
    assert all(prefix <= block < num_blocks for block in own)


@given(st.integers(1, 30), st.integers(1, 4))
def test_padding_lies_in_the_null_block_alone(count: int, more: int) -> None:
    cache = KVCache(torch.zeros(2, 1, 61, 4, 1, 8))
    inputs = StaticInputs(40, MODEL_LEN, cache)
    spans = [SequenceSpan(4 * row % 64, 1, list(range(row, row + 17))) for row in range(count)]
    inputs.fill(Step([5] * 40, [SequenceSpan(60, 1, list(range(16)))] * 40, [], []), 40)
    inputs.fill(Step([7] * count, spans, [], []), count + more)
    found = inputs.metadata(count + more)
    assert found.slot_mapping[count:].tolist() == [cache.null_slot] * more
    assert found.block_tables[count:, 0].tolist() == [cache.num_blocks] * more
    assert found.seq_lens.tolist() == [span.start + 1 for span in spans] + [1] * more
    assert found.query_start_loc.tolist() == list(range(count + more + 1))
    for row, span in enumerate(spans):
        assert found.block_tables[row, :17].tolist() == span.block_ids
    assert inputs.token_ids[: count + more].tolist() == [7] * count + [0] * more
