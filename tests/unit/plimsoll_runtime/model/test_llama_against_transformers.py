"""Our Llama computes what transformers' does, however a sequence is cut into steps."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import PagedAttention
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config

CPU = torch.device("cpu")
BLOCK_SIZE = 4
VARIANTS = (
    "gqa",
    "mha",
    "mqa",
    "tied",
    "biases",
    "llama3-rope",
    "linear-rope",
    "wide-heads",
    "high-theta",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3-biases",
)

Saved = Callable[[str], tuple[Oracle, Path]]


def load(folder: Path, dtype: torch.dtype) -> tuple[LlamaForCausalLM, KVCache]:
    config = read_model_config(folder)
    model = load_model(folder, config, dtype=dtype, device=CPU, max_model_len=128)
    return model, KVCache.allocate(config, 64, BLOCK_SIZE, dtype, CPU)


@torch.inference_mode()
def chunked_logits(
    model: LlamaForCausalLM, cache: KVCache, sequences: list[list[int]], seed: int
) -> list[Tensor]:
    """Logits at every position of every sequence, computed in mixed steps of random chunks."""
    rng = random.Random(seed)
    blocks = rng.sample(range(cache.num_blocks), cache.num_blocks)
    tables = [[blocks.pop() for _ in range(-(-len(s) // BLOCK_SIZE))] for s in sequences]
    done = [0] * len(sequences)
    logits: list[list[Tensor]] = [[] for _ in sequences]
    attention = PagedAttention(cache)
    while any(d < len(s) for d, s in zip(done, sequences, strict=True)):
        spans, tokens, positions, owners = [], [], [], []
        for i, sequence in enumerate(sequences):
            count = min(rng.choice([0, 1, 1, 2, 3, 7, 11]), len(sequence) - done[i])
            if count:
                spans.append(SequenceSpan(done[i], count, tables[i]))
                tokens += sequence[done[i] : done[i] + count]
                positions += range(done[i], done[i] + count)
                owners += [i] * count
                done[i] += count
        if not spans:
            continue
        attention.plan(build_metadata(spans, BLOCK_SIZE, cache.num_blocks, CPU))
        rows = torch.arange(len(tokens))
        out = model(torch.tensor(tokens), torch.tensor(positions), attention, rows)
        for owner, row in zip(owners, out, strict=True):
            logits[owner].append(row)
    return [torch.stack(rows) for rows in logits]


def sequences_of(vocab: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(vocab) for _ in range(n)] for n in (1, 5, 23, 60, 64)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_fp32_logits_equal_for_any_chunks(saved: Saved, variant: str) -> None:
    oracle, folder = saved(variant)
    model, cache = load(folder, torch.float32)
    sequences = sequences_of(97, seed=1)
    for ours, tokens in zip(chunked_logits(model, cache, sequences, 2), sequences, strict=True):
        with torch.inference_mode():
            theirs = oracle(torch.tensor([tokens])).logits[0]
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)
        assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_bf16_is_as_close_to_fp32_as_transformers_is(saved: Saved, variant: str) -> None:
    oracle, folder = saved(variant)
    model, cache = load(folder, torch.bfloat16)
    peer = Oracle.from_pretrained(folder, dtype=torch.bfloat16).eval()
    sequences = sequences_of(97, seed=3)[2:]
    our_error, peer_error = 0.0, 0.0
    for ours, tokens in zip(chunked_logits(model, cache, sequences, 4), sequences, strict=True):
        with torch.inference_mode():
            exact = oracle(torch.tensor([tokens])).logits[0].log_softmax(-1)
            theirs = peer(torch.tensor([tokens])).logits[0].float().log_softmax(-1)
        weights = exact.exp()
        our_error += float((weights * (ours.log_softmax(-1) - exact).abs()).sum(-1).mean())
        peer_error += float((weights * (theirs - exact).abs()).sum(-1).mean())
    assert our_error < 1.25 * peer_error + 1e-3


def test_only_the_rows_asked_for_are_computed(saved: Saved) -> None:
    _, folder = saved("gqa")
    model, cache = load(folder, torch.float32)
    attention = PagedAttention(cache)
    attention.plan(build_metadata([SequenceSpan(0, 3, [0])], BLOCK_SIZE, 64, CPU))
    tokens, positions = torch.tensor([1, 2, 3]), torch.arange(3)
    with torch.inference_mode():
        everything = model(tokens, positions, attention, torch.arange(3))
        last = model(tokens, positions, attention, torch.tensor([2]))
        none = model(tokens, positions, attention, torch.empty(0, dtype=torch.int64))
    assert everything.shape == (3, 97)
    torch.testing.assert_close(last, everything[2:])
    assert none.shape == (0, 97)
    assert last.dtype == torch.float32
