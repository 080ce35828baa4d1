"""Token for token what transformers says in fp32, with everything at once.

Random Llamas and their relatives (Mistral, Qwen2, Qwen3; query, key and value heads, tied or not,
biases, rope scaling) serve requests that are batched, cut into chunks, preempted, found in the
cache and drafted for, greedy and seeded, with penalties and biases. Every answer is then computed
by transformers in one go, and each of its tokens chosen from those logits by the same sampler: 0
may differ. `make equality` does it with thousands of requests.
"""

import os
import queue
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from plimsoll_runtime.attention.kv_cache import bytes_per_block
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.core.step import ScheduledRequest, TokenHistory
from plimsoll_runtime.engine.choice import TokenChooser
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.model.loader import read_model_config

REQUESTS = int(os.environ.get("PLIMSOLL_EQUALITY_REQUESTS", "40"))
"""For each model and way to draft."""
MODELS = int(os.environ.get("PLIMSOLL_EQUALITY_MODELS", "3"))
DEVICE = os.environ.get("PLIMSOLL_EQUALITY_DEVICE", "cpu")
"""Of our engine; transformers computes on the CPU."""
MAX_LEN = 96
# These models are too small to share among threads.
torch.set_num_threads(1)
TIMEOUT = 120.0
ROPES: list[dict[str, Any]] = [
    {"rope_type": "default", "rope_theta": 10000.0},
    {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
    {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    {"rope_type": "default", "rope_theta": 1e6},
]
FAMILIES: list[tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = [
    (LlamaConfig, LlamaForCausalLM),
    (Qwen3Config, Qwen3ForCausalLM),
    (Qwen2Config, Qwen2ForCausalLM),
    (LlamaConfig, LlamaForCausalLM),
    (MistralConfig, MistralForCausalLM),
]

pytestmark = pytest.mark.timeout(3600 if REQUESTS > 100 else 120)


class Model(NamedTuple):
    """A random model, where it was saved, and one of the same vocabulary that may draft for it."""

    oracle: PreTrainedModel
    folder: Path
    draft: Path


class Question(NamedTuple):
    """A prompt and how to answer it."""

    prompt: list[int]
    sampling: SamplingParams


def shape(rng: random.Random, kv_heads: int) -> dict[str, Any]:
    """Four query heads a KV head: all with their own, some or all with a common one."""
    heads = 4
    return {
        "hidden_size": rng.choice([32, 48]),
        "intermediate_size": rng.choice([40, 64]),
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": rng.choice([8, 12, 16]),
        "vocab_size": rng.choice([61, 97, 128]),
        "max_position_embeddings": 128,
        "tie_word_embeddings": rng.random() < 0.5,
        "attention_bias": rng.random() < 0.3,
        "mlp_bias": rng.random() < 0.3,
        "initializer_range": 0.3,
    }


@pytest.fixture(scope="module", params=range(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The n-th takes the n-th family, sort of heads and rope, and chance decides the rest."""
    number: int = request.param
    rng = random.Random(number)
    torch.manual_seed(number)
    fields = shape(rng, kv_heads=(2, 4, 1)[number % 3])
    make_config, make_model = FAMILIES[number % len(FAMILIES)]
    if make_config is MistralConfig:
        fields["sliding_window"] = None
    config = make_config(**fields, rope_parameters=ROPES[(number + 1) % len(ROPES)])
    oracle = make_model(config).eval()
    small = {**fields, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16}
    folder = tmp_path_factory.mktemp(f"model{number}")
    oracle.save_pretrained(folder / "target")
    LlamaForCausalLM(LlamaConfig(**small)).eval().save_pretrained(folder / "draft")
    return Model(oracle, folder / "target", folder / "draft")


def questions(rng: random.Random, vocab: int) -> list[Question]:
    """Prompts that begin alike or repeat themselves, longer than a step or of one token."""
    families = [[rng.randrange(vocab) for _ in range(40)] for _ in range(4)]
    asked = []
    for number in range(REQUESTS):
        common = rng.choice(families)[: rng.choice([0, 9, 20, 40])]
        own = [rng.randrange(vocab) for _ in range(rng.randint(1, 9))] * rng.randint(1, 3)
        sampling = SamplingParams(max_tokens=rng.randint(1, 30), seed=number, **wish(rng, vocab))
        asked.append(Question([*common, *own], sampling))
    return asked


def wish(rng: random.Random, vocab: int) -> dict[str, Any]:
    stops = frozenset(rng.sample(range(vocab), 3)) if rng.random() < 0.3 else frozenset()
    common = {"stop_token_ids": stops, "min_tokens": rng.choice([0, 0, 3])}
    if rng.random() < 0.5:
        common["temperature"] = 0.0
    else:
        common["temperature"] = rng.choice([0.5, 1.0, 1.5])
        common["top_p"] = rng.choice([1.0, 0.9, 0.6])
        common["top_k"] = rng.choice([0, 0, 10])
        common["min_p"] = rng.choice([0.0, 0.0, 0.05])
    more: list[dict[str, Any]] = [
        {},
        {"presence_penalty": 1.0, "frequency_penalty": 0.3},
        {"repetition_penalty": 1.3},
        {"logit_bias": ((1, 3.0), (2, -2.0))},
        {"allowed_token_ids": tuple(range(5, vocab))},
        {"bad_words": ((3,), (4, 5))},
    ]
    return common | (rng.choice(more) if rng.random() < 0.5 else {})


@pytest.fixture(params=["ngram", "draft_model", "itself"])
def engine(request: pytest.FixtureRequest, model: Model) -> Iterator[Engine]:
    """Too small for its requests in every way; `itself` drafts with the model."""
    draft = {"draft_model": model.draft, "itself": model.folder}.get(request.param)
    config = SpeculativeConfig(
        SpeculativeMethod.NGRAM if draft is None else SpeculativeMethod.DRAFT_MODEL,
        num_speculative_tokens=4,
        prompt_lookup_min=1,
        model=None if draft is None else str(draft),
    )
    size = 4
    block = bytes_per_block(read_model_config(model.folder), size, torch.float32)
    if draft is not None:
        block += bytes_per_block(read_model_config(draft), size, torch.float32)
    options = EngineOptions(
        dtype="float32",
        device=DEVICE,
        threads=1 if DEVICE == "cpu" else None,
        block_size=size,
        max_model_len=MAX_LEN,
        max_num_seqs=8,
        max_num_batched_tokens=36,
        kv_cache_memory_bytes=32 * block,
        speculative_config=config,
    )
    made = load_engine(model.folder, options)
    yield made
    made.stop()


def answers(engine: Engine, asked: list[Question]) -> list[list[int]]:
    """All are there before the first step, so that each run has the same steps."""
    box: queue.Queue[RequestOutput] = queue.Queue()
    made: dict[str, list[int]] = {}
    for number, (prompt, sampling) in enumerate(asked):
        engine.submit(Request(str(number), prompt, sampling, float(number)), box.put)
    engine.start()
    left = len(asked)
    while left:
        output = box.get(timeout=TIMEOUT)
        assert output.error is None
        made.setdefault(output.request_id, []).extend(output.new_token_ids)
        if output.finish_reason is not None:
            assert output.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
            left -= 1
    return [made[str(number)] for number in range(len(asked))]


@torch.inference_mode()
def expected(oracle: PreTrainedModel, question: Question, answer: list[int]) -> list[int]:
    """What is chosen after the prompt and each beginning of the answer, but its end's.

    If all of it is the answer, then so is what transformers generates, token by token.
    """
    prompt, sampling = question
    logits = oracle(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    rows = [
        ScheduledRequest(
            str(index), [], 0, [], True, index, sampling, TokenHistory(prompt, answer[:index])
        )
        for index in range(len(answer))
    ]
    made = TokenChooser().choose(logits.float(), rows)
    assert not made.errors
    assert not made.refused
    return [made.sampled[str(index)] for index in range(len(answer))]


def length(question: Question, answer: list[int]) -> int:
    """How long the answer must be, as far as its tokens tell."""
    sampling = question.sampling
    for count, token in enumerate(answer, 1):
        if token in sampling.stop_token_ids and count >= sampling.min_tokens:
            return count
    return min(sampling.max_tokens, MAX_LEN - len(question.prompt))


def test_every_token_is_the_one_of_transformers(model: Model, engine: Engine) -> None:
    asked = questions(random.Random(1), model.oracle.config.vocab_size)
    made = answers(engine, asked)
    different = [
        number
        for number, (question, answer) in enumerate(zip(asked, made, strict=True))
        if answer != expected(model.oracle, question, answer)
    ]
    assert not different
    assert [len(answer) for answer in made] == list(map(length, asked, made))
    stats = engine.stats()
    assert stats.kv_cache_usage == 0.0
    # It would say little if nothing had happened to them.
    assert stats.num_preemptions > 0
    assert stats.prefix_cache_hits > 0
    assert max(sample.num_seqs for sample in stats.step_samples) > 3
    assert max(len(question.prompt) for question in asked) > 36
    told = stats.speculation
    assert told is not None
    assert 0 < told.num_accepted_tokens <= told.num_draft_tokens
