"""Checkpoints that llm-compressor wrote, against what it and transformers read from them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import PagedAttention
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.kernels.library import KernelsUnavailableError, load_kernels
from plimsoll_runtime.model.int8 import QuantizedMatrix, TorchInt8Matrix
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.parallel import Single, Weighted

CPU = torch.device("cpu")
DATA = Path(__file__).parents[3] / "data" / "compressed_tensors"
VARIANTS = ("w8a16", "w8a16_tensor_head", "w8a8")


def expected(variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / variant / "expected.json").read_text())
    return found


def load(
    variant: str,
    group: Single = Single(),  # noqa: B008 - frozen
    backend: AttentionBackend = AttentionBackend.TORCH,
) -> LlamaForCausalLM:
    folder = DATA / variant
    config = read_model_config(folder)
    return load_model(
        folder,
        config,
        dtype=torch.float32,
        device=CPU,
        max_model_len=64,
        group=group,
        backend=backend,
    )


@torch.inference_mode()
def logits(model: LlamaForCausalLM, tokens: list[int]) -> Tensor:
    """Of every token, in one step."""
    cache = KVCache.allocate(model.config, 4, 4, torch.float32, CPU)
    attention = PagedAttention(cache)
    attention.plan(build_metadata([SequenceSpan(0, len(tokens), [2, 0, 1])], 4, 4, CPU))
    places = torch.arange(len(tokens))
    return model(torch.tensor(tokens), places, attention, places)


def assert_as_expected(model: LlamaForCausalLM, variant: str) -> None:
    theirs = expected(variant)
    reference = torch.tensor(theirs["logits"])
    torch.testing.assert_close(logits(model, theirs["tokens"]), reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_are_those_that_compressed_tensors_unpacks(variant: str) -> None:
    found = {
        name.removesuffix(".weight"): hashlib.sha256(part.tensor.numpy().tobytes()).hexdigest()
        for name, part in load(variant).checkpoint_parts().items()
        if part.tensor.dtype == torch.int8
    }
    assert found == expected(variant)["numbers"]


@pytest.mark.parametrize("backend", [AttentionBackend.TORCH, AttentionBackend.NATIVE])
@pytest.mark.parametrize("variant", ["w8a16", "w8a16_tensor_head"])
def test_weight_only_logits_are_those_of_transformers(
    variant: str, backend: AttentionBackend
) -> None:
    if backend is AttentionBackend.NATIVE:
        try:
            load_kernels()
        except KernelsUnavailableError as error:
            pytest.skip(str(error))
    model = load(variant, backend=backend)
    matrices = [m.matrix for m in model.layers.modules() if isinstance(m, Weighted)]
    matrices += [model.lm_head.matrix] if variant.endswith("head") else []
    assert all(isinstance(each, QuantizedMatrix) and each.weight_only for each in matrices)
    assert all(isinstance(each, TorchInt8Matrix) for each in matrices) is (
        backend is AttentionBackend.TORCH
    )
    assert_as_expected(model, variant)


def test_logits_of_quantized_tokens_are_those_of_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the number that stands for the largest one: 127.5, cut to 127, in compressed-tensors;
    127 here, as in vLLM."""
    model = load("w8a8")

    def theirs(x: Tensor) -> tuple[Tensor, Tensor]:
        scales = x.abs().amax(-1) / 127.5
        return (x / scales.unsqueeze(-1)).round().clamp(-128, 127).to(torch.int8), scales

    monkeypatch.setattr("plimsoll_runtime.model.int8.quantize", theirs)
    assert_as_expected(model, "w8a8")


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_ranks_share_what_one_has(variant: str) -> None:
    whole = load(variant).checkpoint_parts()
    for rank in range(2):
        for name, part in load(variant, Single(rank, 2)).checkpoint_parts().items():
            assert torch.equal(part.tensor, whole[name].tensor[part.region]), name
