"""A model computed by the kernels: as in torch, and the same bits however its steps are cut."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.native import NativeAttention
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.kernels.library import KernelsUnavailableError, load_kernels
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.operations import TORCH_OPERATIONS, NativeOperations

CPU = torch.device("cpu")
BLOCK_SIZE = 4
VARIANTS = ("gqa", "mqa", "tied", "biases", "llama3-rope", "qwen2", "qwen3", "qwen3-biases")
DTYPES = (torch.float32, torch.bfloat16)

Saved = Callable[[str], tuple[Any, Path]]


class Subject:
    """A model whose logits are asked for at every position."""

    def __init__(
        self, folder: Path, dtype: torch.dtype, quantization: Quantization = Quantization.NONE
    ) -> None:
        try:
            self.operations = NativeOperations(load_kernels(), dtype)
        except KernelsUnavailableError as error:
            pytest.skip(str(error))
        config = read_model_config(folder)
        self.model = load_model(
            folder, config, dtype=dtype, device=CPU, max_model_len=128, quantization=quantization
        )
        self.cache = KVCache.allocate(config, 64, BLOCK_SIZE, dtype, CPU)
        self.model.use(self.operations)

    @torch.inference_mode()
    def logits(self, sequences: list[list[int]], counts: Callable[[], int]) -> list[Tensor]:
        """Of each sequence `[length, vocab]`; a step takes `counts()` tokens of each."""
        attention = NativeAttention(self.cache, load_kernels())
        tables = [list(range(16 * i, 16 * (i + 1))) for i in range(len(sequences))]
        done = [0] * len(sequences)
        found: list[list[Tensor]] = [[] for _ in sequences]
        while any(d < len(s) for d, s in zip(done, sequences, strict=True)):
            spans, tokens, positions, owners = [], [], [], []
            for i, sequence in enumerate(sequences):
                if count := min(counts(), len(sequence) - done[i]):
                    spans.append(SequenceSpan(done[i], count, tables[i]))
                    tokens += sequence[done[i] : done[i] + count]
                    positions += range(done[i], done[i] + count)
                    owners += [i] * count
                    done[i] += count
            attention.plan(build_metadata(spans, BLOCK_SIZE, self.cache.num_blocks, CPU))
            rows = torch.arange(len(tokens))
            out = self.model(torch.tensor(tokens), torch.tensor(positions), attention, rows)
            for owner, row in zip(owners, out, strict=True):
                found[owner].append(row)
        return [torch.stack(rows) for rows in found]


def sequences() -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(97) for _ in range(n)] for n in (1, 23, 60, 64)]


def all_equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def layer_by_layer(model: LlamaForCausalLM) -> None:
    model._decoder = None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_bits_do_not_depend_on_the_batch_nor_on_chunks(
    saved: Saved, variant: str, dtype: torch.dtype
) -> None:
    subject = Subject(saved(variant)[1], dtype)
    rng = random.Random(2)
    whole = subject.logits(sequences(), lambda: 64)
    assert all_equal(whole, subject.logits(sequences(), lambda: rng.choice([1, 2, 3, 7, 11])))
    alone = [subject.logits([sequence], lambda: 1)[0] for sequence in sequences()]
    assert all_equal(whole, alone)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_call_for_all_layers_gives_the_bits_of_one_layer_after_the_other(
    saved: Saved, variant: str, dtype: torch.dtype
) -> None:
    subject = Subject(saved(variant)[1], dtype)
    assert subject.model._decoder is not None
    together = subject.logits(sequences(), lambda: 13)
    layer_by_layer(subject.model)
    assert all_equal(together, subject.logits(sequences(), lambda: 13))


@pytest.mark.parametrize("variant", VARIANTS)
def test_fp32_is_as_in_torch(saved: Saved, variant: str) -> None:
    oracle, folder = saved(variant)
    subject = Subject(folder, torch.float32)
    for ours, tokens in zip(subject.logits(sequences(), lambda: 9), sequences(), strict=True):
        with torch.inference_mode():
            theirs = oracle(torch.tensor([tokens])).logits[0]
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


def test_a_model_goes_back_to_torch_and_its_own_weights(saved: Saved) -> None:
    subject = Subject(saved("qwen2")[1], torch.float32)
    names = [name for name, _ in subject.model.named_parameters()]
    assert any(name.endswith("matrix.panels") for name in names)
    subject.model.use(TORCH_OPERATIONS)
    fresh = Subject(saved("qwen2")[1], torch.float32).model
    fresh.use(TORCH_OPERATIONS)
    theirs = dict(fresh.named_parameters())
    for name, parameter in subject.model.named_parameters():
        assert torch.equal(parameter, theirs[name])


@pytest.mark.parametrize("quantization", [Quantization.INT8, Quantization.INT8_WEIGHT_ONLY])
@pytest.mark.parametrize("variant", ["tied", "qwen2"])
def test_int8_gives_the_same_bits_in_one_call_and_in_any_batch(
    saved: Saved, variant: str, quantization: Quantization
) -> None:
    subject = Subject(saved(variant)[1], torch.bfloat16, quantization)
    assert subject.model._decoder is not None
    together = subject.logits(sequences(), lambda: 13)
    assert all_equal(together, subject.logits(sequences(), lambda: 5))
    layer_by_layer(subject.model)
    assert all_equal(together, subject.logits(sequences(), lambda: 13))


@pytest.mark.parametrize("quantization", [Quantization.INT8, Quantization.INT8_WEIGHT_ONLY])
@pytest.mark.parametrize("variant", ["tied", "biases"])
def test_int8_is_near_the_model_and_nearest_to_itself_in_torch(
    saved: Saved, variant: str, quantization: Quantization
) -> None:
    folder = saved(variant)[1]
    exact = Subject(folder, torch.float32).logits(sequences(), lambda: 9)
    subject = Subject(folder, torch.float32, quantization)
    ours = subject.logits(sequences(), lambda: 9)
    subject.model.use(TORCH_OPERATIONS)
    in_torch = subject.logits(sequences(), lambda: 9)
    size = torch.cat(exact).std()
    error = torch.cat(ours) - torch.cat(exact)
    assert 1e-5 * size < error.std() < 0.2 * size
    # One that is rounded to another number moves a few logits a little.
    assert (torch.cat(ours) - torch.cat(in_torch)).std() < error.std() / 4


def test_steps_of_other_shapes_are_refused(saved: Saved) -> None:
    subject = Subject(saved("gqa")[1], torch.float32)
    attention = NativeAttention(subject.cache, load_kernels())
    attention.plan(build_metadata([SequenceSpan(0, 3, [0])], BLOCK_SIZE, 64, CPU))
    tokens, positions = torch.tensor([1, 2]), torch.arange(2)
    with pytest.raises(ValueError, match="2 tokens, and the step has 3"):
        subject.model.hidden_states(tokens, positions, attention)
