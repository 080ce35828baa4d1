"""Answers with drafts have the model's own distribution, and a wrong rule would be found out.

Pearson's χ² of thousands of seeded answers against the probability of each, which comes from
transformers; with answers that are expected less than five times taken as one.
"""

import queue
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime.core.request import Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine.drafts import num_accepted
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions

VOCAB = 5
LENGTH = 3
PROMPT = [0, 1, 2, 3, 4, 0, 1, 2]
NUM_ANSWERS = 2000
FEWEST = 5.0
SURE = 5.0
"""Standard deviations beyond which chance is no explanation."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of five tokens, and another that drafts for it."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LlamaConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=VOCAB,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
        made.append(tmp_path_factory.mktemp(f"five{seed}"))
        Oracle(config).eval().save_pretrained(made[-1])
    return made[0], made[1]


@torch.inference_mode()
def probabilities(folder: Path) -> dict[tuple[int, ...], float]:
    """Of every answer of LENGTH tokens, at temperature 1."""
    oracle = Oracle.from_pretrained(folder, dtype=torch.float32).eval()
    answers = list(product(range(VOCAB), repeat=LENGTH))
    logits = oracle(torch.tensor([[*PROMPT, *answer] for answer in answers])).logits
    logprobs = logits[:, len(PROMPT) - 1 : -1].double().log_softmax(dim=-1)
    own = logprobs.gather(2, torch.tensor(answers).unsqueeze(2)).sum(dim=(1, 2))
    return dict(zip(answers, own.exp().tolist(), strict=True))


def drawn(folder: Path, config: SpeculativeConfig | None) -> tuple[Counter[tuple[int, ...]], int]:
    """How often each answer came, of as many seeds; and how many drafts were accepted."""
    options = EngineOptions(
        dtype="float32",
        device="cpu",
        threads=1,
        max_num_seqs=250,
        max_num_batched_tokens=1500,
        max_model_len=32,
        kv_cache_memory_bytes=2**20,
        speculative_config=config,
    )
    engine = load_engine(folder, options)
    box: queue.Queue[RequestOutput] = queue.Queue()
    answers: dict[str, tuple[int, ...]] = {}
    for seed in range(NUM_ANSWERS):
        sampling = SamplingParams(max_tokens=LENGTH, seed=seed)
        engine.submit(Request(str(seed), PROMPT, sampling, float(seed)), box.put)
    engine.start()
    left = NUM_ANSWERS
    while left:
        output = box.get(timeout=30)
        before = answers.get(output.request_id, ())
        answers[output.request_id] = before + output.new_token_ids
        left -= output.finish_reason is not None
    told = engine.stats().speculation
    engine.stop()
    return Counter(answers.values()), told.num_accepted_tokens if told else 0


def deviations(counts: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> float:
    """χ² in its standard deviations above its mean: about normal, as there are many classes."""
    total = counts.total()
    classes = [(counts[each], total * p) for each, p in expected.items() if total * p >= FEWEST]
    rare = [(counts[each], total * p) for each, p in expected.items() if total * p < FEWEST]
    classes.append((sum(each for each, _ in rare), sum(each for _, each in rare)))
    squares = sum((seen - mean) ** 2 / mean for seen, mean in classes if mean)
    freedom = len(classes) - 1
    return float((squares - freedom) / (2 * freedom) ** 0.5)


def config_of(method: SpeculativeMethod, draft: Path) -> SpeculativeConfig:
    model = str(draft) if method is SpeculativeMethod.DRAFT_MODEL else None
    return SpeculativeConfig(method, 2, prompt_lookup_min=1, model=model)


@pytest.mark.parametrize("method", list(SpeculativeMethod))
def test_answers_with_drafts_are_distributed_as_the_model_says(
    folders: tuple[Path, Path], method: SpeculativeMethod
) -> None:
    target, draft = folders
    expected = probabilities(target)
    assert sum(expected.values()) == pytest.approx(1.0)
    counts, accepted = drawn(target, config_of(method, draft))
    assert deviations(counts, expected) < SURE
    assert NUM_ANSWERS / 20 < accepted < NUM_ANSWERS
    # And they are the very answers that come without drafts.
    assert counts == drawn(target, None)[0]


def everything(drafts: Sequence[int], _: Sequence[int | None]) -> int:
    return len(drafts)


def one_too_many(drafts: Sequence[int], chosen: Sequence[int | None]) -> int:
    return min(len(drafts), num_accepted(drafts, chosen) + 1)


def one_too_few(drafts: Sequence[int], chosen: Sequence[int | None]) -> int:
    """Not wrong: the same tokens, in more steps."""
    return max(0, num_accepted(drafts, chosen) - 1)


@pytest.mark.parametrize(
    ("rule", "is_right"), [(everything, False), (one_too_many, False), (one_too_few, True)]
)
def test_a_wrong_rule_is_found_out(
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    rule: Callable[[Sequence[int], Sequence[int | None]], int],
    is_right: bool,
) -> None:
    target, draft = folders
    monkeypatch.setattr("plimsoll_runtime.engine.choice.num_accepted", rule)
    counts, _ = drawn(target, config_of(SpeculativeMethod.NGRAM, draft))
    assert (deviations(counts, probabilities(target)) < SURE) == is_right
