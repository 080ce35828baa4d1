"""Engines of several processes: the tokens of one, and a clear end when one of them dies."""

import dataclasses
import os
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from plimsoll_runtime import builtin
from plimsoll_runtime.attention.kv_cache import bytes_per_block
from plimsoll_runtime.core.partition import shard_config
from plimsoll_runtime.core.pooling import Pooling
from plimsoll_runtime.core.request import (
    FinishReason,
    Request,
    RequestOutput,
    SamplingParams,
    TokenLogprobs,
)
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine import collectives
from plimsoll_runtime.engine import ranks as ranks_module
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.execution import RunnerLostError
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.ranks import Rank
from plimsoll_runtime.model.loader import read_model_config
from tests.integration.server.conftest import ServerProcess

pytestmark = pytest.mark.timeout(240)

RANK = "plimsoll_runtime.engine.rank"
TIMEOUT = 60.0
BLOCKS = 40
GQA = {"num_key_value_heads": 2, "tie_word_embeddings": False, "attention_bias": True}
MQA = {"num_key_value_heads": 1, "tie_word_embeddings": True, "mlp_bias": True}
SHAPES: dict[str, tuple[dict[str, object], int]] = {"gqa-2": (GQA, 2), "mqa-4": (MQA, 4)}

Box = "queue.Queue[RequestOutput]"
Load = Callable[..., Engine]


class Question(NamedTuple):
    """A prompt and how to answer it."""

    prompt: list[int]
    sampling: SamplingParams


def save(folder: Path, **shape: object) -> Path:
    """A random model whose vocabulary divides by nothing."""
    torch.manual_seed(7)
    config = LlamaConfig(
        **{  # type: ignore[arg-type]
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 97,
            "max_position_embeddings": 128,
            "initializer_range": 0.3,
            "bos_token_id": 0,
            "eos_token_id": 1,
            **shape,
        }
    )
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    return folder


@contextmanager
def loading() -> Iterator[Load]:
    """`load(folder, size, option=…)`: a started engine in fp32."""
    engines: list[Engine] = []

    def make(folder: Path, size: int, **options: object) -> Engine:
        fixed = EngineOptions(dtype="float32", device="cpu", threads=1, tensor_parallel_size=size)
        engine = load_engine(folder, dataclasses.replace(fixed, **options))  # type: ignore[arg-type]
        engines.append(engine)
        engine.start()
        return engine

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
def load() -> Iterator[Load]:
    """Engines for one test."""
    with loading() as make:
        yield make


class Pair(NamedTuple):
    """One rank and several with the same model and limits."""

    one: Engine
    several: Engine


@pytest.fixture(scope="class", params=list(SHAPES))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Shared by tests that leave both as able to serve as before: ranks take seconds to start."""
    shape, size = SHAPES[request.param]
    folder = save(tmp_path_factory.mktemp(request.param), **shape)
    with loading() as make:
        yield Pair(*(make(folder, each, **tight(folder, each)) for each in (1, size)))


def tight(folder: Path, size: int) -> dict[str, object]:
    """Options under which requests are cut, preempted and found in the cache."""
    shard = shard_config(read_model_config(folder), size)
    return {
        "block_size": 4,
        "max_num_seqs": 6,
        "max_num_batched_tokens": 12,
        "max_model_len": 72,
        "kv_cache_memory_bytes": BLOCKS * bytes_per_block(shard, 4, torch.float32),
    }


def questions() -> list[Question]:
    """Prompts with common beginnings, longer than a step; half of the answers are random."""
    system = [(11 * i + 5) % 97 for i in range(21)]
    return [
        Question(
            [*system[: 21 - i % 5], *((7 * i + 3 * j) % 97 for j in range(i % 11))],
            SamplingParams(20, temperature=i % 2 * 1.0, top_p=0.9, top_k=i % 3 * 20, seed=i),
        )
        for i in range(28)
    ]


def submit(engine: Engine, number: int, question: Question) -> Box:
    box: queue.Queue[RequestOutput] = queue.Queue()
    request = Request(str(number), question.prompt, question.sampling, float(number))
    engine.submit(request, box.put)
    return box


def tokens_of(box: Box) -> list[int]:
    tokens: list[int] = []
    while True:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        tokens += output.new_token_ids
        if output.finish_reason is not None:
            return tokens


def vector_of(box: Box) -> torch.Tensor:
    pieces: list[torch.Tensor] = []
    while True:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        if output.pooled:
            pieces.append(torch.frombuffer(bytearray(output.pooled), dtype=torch.float32))
        if output.finish_reason is not None:
            return torch.stack(pieces).sum(dim=0)


def answers(engine: Engine) -> list[list[int]]:
    boxes = [submit(engine, i, question) for i, question in enumerate(questions())]
    return [tokens_of(box) for box in boxes]


def test_drafts_are_rank_0s_own_and_change_no_token(load: Load, tmp_path: Path) -> None:
    folder = save(tmp_path, **GQA)
    config = SpeculativeConfig(SpeculativeMethod.DRAFT_MODEL, 3, model=str(folder))
    options = tight(folder, 1) | {"max_num_batched_tokens": 24}
    drafting = load(folder, 2, **options, speculative_config=config)
    assert answers(drafting) == answers(load(folder, 1, **tight(folder, 1)))
    told = drafting.stats().speculation
    assert told is not None
    assert 0 < told.num_accepted_tokens < told.num_draft_tokens
    assert drafting.stats().num_preemptions > 0


def scored_questions() -> list[Question]:
    """Prompts to be scored, in several chunks, and what only rank 0 is told of."""
    wishes: list[dict[str, object]] = [
        {"prompt_logprobs": 3, "max_tokens": 1},
        {"prompt_logprobs": 0, "logprobs": 2, "temperature": 0.0},
        {"logprobs": 4, "temperature": 0.8, "presence_penalty": 1.5, "repetition_penalty": 1.3},
        {},
        {"prompt_logprobs": 1, "logit_bias": ((5, 30.0), (7, 31.0)), "temperature": 0.7},
    ]
    return [
        Question(
            [(7 * i + 3 * j * j + 1) % 97 for j in range(3 + 5 * i % 31)],
            SamplingParams(**{"max_tokens": 9, "seed": i, **wishes[i % 5]}),  # type: ignore[arg-type]
        )
        for i in range(20)
    ]


class Answer(NamedTuple):
    """Tokens and their logprobs, and those of the prompt."""

    tokens: list[int]
    logprobs: list[TokenLogprobs]
    prompt_logprobs: list[TokenLogprobs]


def scored_answer(box: Box) -> Answer:
    answer = Answer([], [], [])
    while True:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        answer.tokens.extend(output.new_token_ids)
        answer.logprobs.extend(output.logprobs or ())
        answer.prompt_logprobs.extend(output.prompt_logprobs or ())
        if output.finish_reason is not None:
            return answer


def same(several: list[TokenLogprobs], one: list[TokenLogprobs]) -> None:
    for mine, expected in zip(several, one, strict=True):
        assert (mine.token_id, mine.rank) == (expected.token_id, expected.rank)
        assert mine.logprob == pytest.approx(expected.logprob, abs=1e-4)
        assert [each[0] for each in mine.top] == [each[0] for each in expected.top]


class TestOneRankAndSeveral:
    """Both stay able to serve, and end before other tests look for processes."""

    def test_tokens_are_those_of_one_rank_under_load(self, pair: Pair) -> None:
        one, several = pair.one, pair.several
        expected = answers(one)
        assert answers(several) == expected
        assert len({tuple(each) for each in expected}) > 14
        stats = several.stats()
        assert stats.num_blocks == BLOCKS
        assert stats.num_preemptions > 0
        assert stats.prefix_cache_hits > 0
        assert (stats.num_steps, stats.num_preemptions) == (
            one.stats().num_steps,
            one.stats().num_preemptions,
        )

    def test_prompts_are_scored_and_wishes_fulfilled_as_by_one_rank(self, pair: Pair) -> None:
        asked = scored_questions()
        found: list[list[Answer]] = []
        for engine in (pair.one, pair.several):
            boxes = [submit(engine, i, question) for i, question in enumerate(asked)]
            found.append([scored_answer(box) for box in boxes])
        for question, one, several in zip(asked, *found, strict=True):
            sampling = question.sampling
            assert several.tokens == one.tokens
            count = 0 if sampling.prompt_logprobs is None else len(question.prompt) - 1
            assert len(one.prompt_logprobs) == count
            assert len(one.logprobs) == (0 if sampling.logprobs is None else len(one.tokens))
            for kind in ("logprobs", "prompt_logprobs"):
                same(getattr(several, kind), getattr(one, kind))
        assert {5, 7} <= {token for answer in found[0] for token in answer.tokens}

    def test_vectors_are_those_of_one_rank(self, pair: Pair) -> None:
        asked = [
            Question(each.prompt, SamplingParams(0, pooling=pooling))
            for each in questions()[::3]
            for pooling in Pooling
        ]
        found = [
            [vector_of(box) for box in [submit(engine, i, each) for i, each in enumerate(asked)]]
            for engine in pair
        ]
        for one, several in zip(*found, strict=True):
            torch.testing.assert_close(several, one, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("pair", ["gqa-2"], indirect=True)
    def test_a_failure_to_choose_ends_requests_and_leaves_the_ranks_in_step(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = pair.several
        question = Question(
            list(range(2, 20)), SamplingParams(4, temperature=0.0, prompt_logprobs=1)
        )
        expected = scored_answer(submit(engine, 0, question))
        with monkeypatch.context() as patch:
            patch.setattr("plimsoll_runtime.engine.choice.sample", lambda *_: 1 / 0)
            output = submit(engine, 1, question).get(timeout=TIMEOUT)
            assert output.finish_reason is FinishReason.ERROR
        assert scored_answer(submit(engine, 2, question)) == expected
        assert engine.failed is None


def ranks_below(pid: int) -> list[int]:
    """Rank processes among the descendants of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_text()
            found += ([child] if RANK in command else []) + ranks_below(child)
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone before or while it is read
        return False


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_killed_rank_ends_the_engine_at_once(load: Load, temporary: Path) -> None:
    engine = load(builtin.path("tiny"), 4)
    ranks = ranks_below(os.getpid())
    assert len(ranks) == 3
    long = Question(list(range(100, 140)), SamplingParams(1500, temperature=0.0, seed=1))
    boxes = [submit(engine, i, long) for i in range(3)]
    assert all(box.get(timeout=TIMEOUT).finish_reason is None for box in boxes)
    os.kill(ranks[1], signal.SIGKILL)
    killed = time.monotonic()
    for box in boxes:
        output = box.get(timeout=TIMEOUT)
        while output.finish_reason is None:
            output = box.get(timeout=TIMEOUT)
        assert output.finish_reason is FinishReason.ERROR
    assert time.monotonic() - killed < 5
    assert isinstance(engine.failed, RunnerLostError)
    cause = f"tensor-parallel rank 2 (process {ranks[1]}) was ended by SIGKILL"
    assert str(engine.failed) == cause
    with pytest.raises(EngineFailedError, match="was ended by SIGKILL"):
        submit(engine, 9, long)
    until(lambda: not any(alive(rank) for rank in ranks))
    until(lambda: not list(temporary.iterdir()))


def test_a_rank_that_hangs_ends_the_engine_too(
    load: Load, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectives, "TIMEOUT", timedelta(seconds=3))
    monkeypatch.setattr(ranks_module, "VERDICT_SECONDS", 0.1)
    monkeypatch.setattr(ranks_module, "END_SECONDS", 0.5)
    engine = load(builtin.path("tiny"), 2)
    (rank,) = ranks_below(os.getpid())
    box = submit(engine, 0, Question([5, 6, 7], SamplingParams(1500, temperature=0.0, seed=1)))
    box.get(timeout=TIMEOUT)
    os.kill(rank, signal.SIGSTOP)
    output = box.get(timeout=TIMEOUT)
    while output.finish_reason is None:
        output = box.get(timeout=TIMEOUT)
    assert output.finish_reason is FinishReason.ERROR
    assert "ranks are out of step: all-reduce failed" in str(engine.failed)
    until(lambda: not alive(rank))
    until(lambda: not list(temporary.iterdir()))


def test_what_a_rank_cannot_load_is_told_and_leaves_no_process(
    tmp_path: Path, temporary: Path
) -> None:
    folder = save(tmp_path, **GQA)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {name: torch.ones(48, 31)}, folder / "model.safetensors")
    options = EngineOptions(device="cpu", tensor_parallel_size=2)
    with pytest.raises(ValueError, match=rf"{name} has shape \[48, 31\]"):
        load_engine(folder, options)
    assert ranks_below(os.getpid()) == []
    assert not list(temporary.iterdir())


@pytest.fixture
def server(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServerProcess]:
    """`plimsoll serve` with two ranks."""
    monkeypatch.setenv("TMPDIR", str(temporary))
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny"]
    options = ["--port=0", "--dtype=float32", "--threads=2", "--tensor-parallel-size=2"]
    process = ServerProcess([*command, *options], tmp_path / "server.log")
    yield process
    process.kill()


def stream(server: ServerProcess, max_tokens: int) -> Iterator[str]:
    body = {
        "prompt": "import os",
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    url = f"{server.url}/v1/completions"
    with httpx.stream("POST", url, json=body, timeout=TIMEOUT) as response:
        yield from (line for line in response.iter_lines() if line)


def test_a_server_whose_rank_is_killed_tells_its_clients_and_exits(
    server: ServerProcess, temporary: Path
) -> None:
    (rank,) = ranks_below(server.process.pid)
    lines = stream(server, 1900)
    next(lines)
    os.kill(rank, signal.SIGKILL)
    killed = time.monotonic()
    rest = list(lines)
    assert "the engine failed; send the request again" in "".join(rest)
    assert server.wait(15) == 1
    assert time.monotonic() - killed < 10
    assert f"rank 1 (process {rank}) was ended by SIGKILL" in server.log.read_text()
    assert not alive(rank)
    until(lambda: not list(temporary.iterdir()))


@pytest.mark.parametrize("victim", ["engine", "server"])
def test_ranks_end_with_the_engines_process_and_that_with_the_server(
    server: ServerProcess, temporary: Path, victim: str
) -> None:
    (rank,) = ranks_below(server.process.pid)
    lines = stream(server, 1900)
    next(lines)
    if victim == "engine":
        os.kill(server.engine_pid, signal.SIGKILL)
        assert "the engine failed; send the request again" in "".join(lines)
        assert server.wait(15) == 1
    else:
        server.process.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
        server.process.wait()
    until(lambda: not alive(rank) and not alive(server.engine_pid))
    until(lambda: not list(temporary.iterdir()))


def test_a_signal_to_all_processes_still_lets_requests_finish(server: ServerProcess) -> None:
    (rank,) = ranks_below(server.process.pid)
    lines = stream(server, 120)
    next(lines)
    for pid in (rank, server.engine_pid, server.process.pid):
        os.kill(pid, signal.SIGTERM)
    *rest, done = list(lines)
    assert done == "data: [DONE]"
    assert "error" not in "".join(rest)
    assert server.wait(30) == 0
    until(lambda: not alive(rank))


def test_a_rank_does_not_outlive_rank_0(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    rank = Rank(1, None, meeting)
    rank.channel.close()  # as the kernel does when rank 0 is killed
    assert rank.process.wait(TIMEOUT) == 0
    assert not meeting.exists()
