"""A second model that drafts: its cache follows the first one's through all that happens to it."""

import json
import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime.attention.kv_cache import bytes_per_block
from plimsoll_runtime.core.request import Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.model.loader import read_model_config

BLOCKS = 24
FLOAT32 = torch.float32
Load = Callable[..., Engine]


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller model with the same vocabulary, that knows nothing of the first."""
    torch.manual_seed(3)
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=97,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("draft")
    Oracle(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture
def load(oracle_and_folder: tuple[Oracle, Path]) -> Iterator[Load]:
    """`load(draft folder, option=…)`: a started engine in fp32; without a folder, no drafts."""
    engines: list[Engine] = []

    def make(draft: Path | None, num_drafts: int = 4, **options: object) -> Engine:
        folder = oracle_and_folder[1]
        block = bytes_per_block(read_model_config(folder), 4, FLOAT32)
        config = None
        if draft is not None:
            block += bytes_per_block(read_model_config(draft), 4, FLOAT32)
            method = SpeculativeMethod.DRAFT_MODEL
            config = SpeculativeConfig(method, num_drafts, model=str(draft))
        fixed = EngineOptions(
            dtype="float32",
            device="cpu",
            threads=1,
            block_size=4,
            max_model_len=64,
            max_num_seqs=6,
            max_num_batched_tokens=30,
            kv_cache_memory_bytes=BLOCKS * block,
            speculative_config=config,
        )
        engines.append(load_engine(folder, replace(fixed, **options)))  # type: ignore[arg-type]
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


def answers(engine: Engine, count: int = 30, **fields: object) -> list[list[int]]:
    """To prompts with common beginnings, longer than a step, and each asked twice."""
    system = [(11 * i + 5) % 97 for i in range(17)]
    boxes: list[queue.Queue[RequestOutput]] = []
    for i in range(count):
        prompt = [*system[: 17 - i % 4], *((7 * i + 3 * j) % 97 for j in range(i % 15 // 2))]
        wishes = {"max_tokens": 5 + i % 20, "temperature": 0.0, "seed": i, **fields}
        boxes.append(queue.Queue())
        sampling = SamplingParams(**wishes)  # type: ignore[arg-type]
        engine.submit(Request(str(i), prompt, sampling, float(i)), boxes[-1].put)
    if not engine.ready:
        engine.start()
    return [tokens_in(box) for box in boxes]


def tokens_in(box: "queue.Queue[RequestOutput]") -> list[int]:
    tokens: list[int] = []
    while True:
        output = box.get(timeout=30)
        assert output.error is None
        tokens += output.new_token_ids
        if output.finish_reason is not None:
            return tokens


def test_a_model_that_drafts_for_itself_is_always_right(
    load: Load, oracle_and_folder: tuple[Oracle, Path]
) -> None:
    """It is not, if it has missed a token of what the large one has computed."""
    engine = load(oracle_and_folder[1])
    assert answers(engine) == answers(load(None))
    stats = engine.stats()
    assert stats.num_blocks == BLOCKS
    assert stats.num_preemptions > 0
    assert stats.prefix_cache_hits > 0
    told = stats.speculation
    assert told is not None
    assert told.num_draft_tokens > 150
    assert told.num_accepted_tokens == told.num_draft_tokens


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_another_model_changes_no_token(load: Load, other: Path, temperature: float) -> None:
    engine = load(other)
    expected = answers(load(None), temperature=temperature)
    assert answers(engine, temperature=temperature) == expected
    told = engine.stats().speculation
    assert told is not None
    assert 0 < told.num_accepted_tokens < 0.5 * told.num_draft_tokens
    assert engine.stats().num_preemptions > 0


def test_its_cache_comes_out_of_the_same_memory(
    load: Load, oracle_and_folder: tuple[Oracle, Path]
) -> None:
    block = bytes_per_block(read_model_config(oracle_and_folder[1]), 4, FLOAT32)
    plain = load(None, kv_cache_memory_bytes=40 * block)
    twice = load(oracle_and_folder[1], kv_cache_memory_bytes=40 * block)
    assert (plain.limits.num_blocks, twice.limits.num_blocks) == (40, 20)


def test_another_vocabulary_is_refused_before_weights_are_read(
    load: Load, other: Path, tmp_path: Path
) -> None:
    config = json.loads((other / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 96}))
    with pytest.raises(ValueError, match="has a vocabulary of 96 tokens and the model one of 97"):
        load(tmp_path)
