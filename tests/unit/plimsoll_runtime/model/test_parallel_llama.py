"""A model whose ranks each loaded their share computes what the whole one does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import PagedAttention
from plimsoll_runtime.core.partition import shard_config
from plimsoll_runtime.model import weights
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.parallel import SINGLE, Group
from tests.unit.plimsoll_runtime.model.rank_threads import Table, ThreadGroup, on_ranks

CPU = torch.device("cpu")
Saved = Callable[[str], tuple[torch.nn.Module, Path]]
VARIANTS = ["gqa", "mha", "mqa", "tied", "biases", "wide-heads", "qwen2", "qwen3-biases"]


def load(folder: Path, group: Group) -> LlamaForCausalLM:
    config = read_model_config(folder)
    return load_model(
        folder, config, dtype=torch.float32, device=CPU, max_model_len=64, group=group
    )


def logits(folder: Path, group: Group, steps: list[list[SequenceSpan]]) -> list[Tensor]:
    """What the steps give for each of their tokens."""
    model = load(folder, group)
    shard = shard_config(model.config, group.size)
    attention = PagedAttention(KVCache.allocate(shard, 16, 4, torch.float32, CPU))
    found = []
    with torch.inference_mode():
        for spans in steps:
            attention.plan(build_metadata(spans, 4, 16, CPU))
            positions = [i for s in spans for i in range(s.start, s.start + s.query_len)]
            tokens = torch.tensor([(7 * i + 3 * len(spans)) % 97 for i in positions])
            rows = torch.arange(len(positions))
            found.append(model(tokens, torch.tensor(positions), attention, rows))
    return found


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_the_whole_model(saved: Saved, variant: str, size: int) -> None:
    _, folder = saved(variant)
    chunks = [SequenceSpan(0, 9, [3, 1, 7]), SequenceSpan(0, 5, [2, 5])]
    decodes = [SequenceSpan(9, 1, [3, 1, 7]), SequenceSpan(5, 3, [2, 5])]
    steps = [chunks, decodes]
    whole = logits(folder, SINGLE, steps)
    parallel = on_ranks(size, lambda group: logits(folder, group, steps))[0]
    for mine, expected in zip(parallel, whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(mine.argmax(dim=1), expected.argmax(dim=1))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_ranks_weights_together_are_the_checkpoint(
    saved: Saved, variant: str, size: int
) -> None:
    oracle, folder = saved(variant)
    state = oracle.state_dict()
    ranks = [parts.checkpoint_parts() for parts in on_ranks(size, lambda g: load(folder, g))]
    for name in ranks[0]:
        filled = torch.full_like(state[name], torch.nan)
        for parts in ranks:
            part = parts[name]
            filled[part.region] = part.tensor
        assert torch.equal(filled, state[name]), name


class CountingSlice:
    """Notes how many values are taken of a tensor."""

    def __init__(self, name: str, inner: Any, read: dict[str, int]) -> None:
        self.name, self.inner, self.read = name, inner, read

    def get_shape(self) -> list[int]:
        shape: list[int] = self.inner.get_shape()
        return shape

    def __getitem__(self, region: tuple[slice, ...]) -> Tensor:
        tensor: Tensor = self.inner[region]
        self.read[self.name] = tensor.numel()
        return tensor


class CountingFile:
    """A safetensors file that notes how many values are taken of each tensor."""

    read: ClassVar[dict[str, int]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        self.file = safe_open(*args, **options)

    def __enter__(self) -> "CountingFile":
        self.file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.__exit__(*error)

    def keys(self) -> list[str]:
        return list(self.file.keys())

    def get_tensor(self, name: str) -> Tensor:
        tensor: Tensor = self.file.get_tensor(name)
        self.read[name] = tensor.numel()
        return tensor

    def get_slice(self, name: str) -> CountingSlice:
        return CountingSlice(name, self.file.get_slice(name), self.read)


def share_of_rank(name: str) -> float:
    """Of four ranks and two KV heads."""
    if "norm" in name:
        return 1.0
    return 0.5 if name.endswith(("k_proj.weight", "v_proj.weight")) else 0.25


def test_a_rank_reads_only_its_slices(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, folder = saved("gqa")
    monkeypatch.setattr(weights, "safe_open", CountingFile)
    load(folder, ThreadGroup(1, Table(4)))  # loading needs nobody else
    for name, tensor in oracle.state_dict().items():
        expected = tensor.numel() * share_of_rank(name)
        # A vocabulary of 97 leaves one rank a row less.
        assert CountingFile.read[name] == pytest.approx(expected, abs=tensor.shape[-1]), name


def test_a_model_that_does_not_divide_is_refused(saved: Saved) -> None:
    _, folder = saved("gqa")
    with pytest.raises(ValueError, match=r"size 3 does not divide .* it can be 1, 2, 4"):
        on_ranks(3, lambda group: load(folder, group))
