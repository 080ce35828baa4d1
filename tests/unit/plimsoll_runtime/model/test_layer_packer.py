"""Weights that change their form while they are loaded: which, and that the read are let go."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.kernels.library import InstructionSet, KernelsUnavailableError, load_kernels
from plimsoll_runtime.model.int8 import TorchInt8Matrix, quantize_weight
from plimsoll_runtime.model.layer_packer import LayerPacker
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, make_compressed, read_model_config
from plimsoll_runtime.model.matrix import Matrix, PackedMatrix, TorchMatrix
from plimsoll_runtime.model.operations import NativeOperations
from plimsoll_runtime.model.parallel import (
    SINGLE,
    ColumnParallelLinear,
    Columns,
    Group,
    Part,
    Single,
    VocabParallel,
    Weighted,
)

COMPRESSED = Path(__file__).parents[3] / "data" / "compressed_tensors"
Saved = Callable[[str], tuple[Any, Path]]


def load(
    folder: Path,
    quantization: Quantization = Quantization.NONE,
    *,
    dtype: torch.dtype = torch.bfloat16,
    backend: AttentionBackend = AttentionBackend.TORCH,
    group: Group = SINGLE,
) -> LlamaForCausalLM:
    return load_model(
        folder,
        read_model_config(folder),
        dtype=dtype,
        device=torch.device("cpu"),
        max_model_len=64,
        group=group,
        quantization=quantization,
        backend=backend,
    )


def weighted(model: LlamaForCausalLM) -> dict[str, Weighted]:
    return {name: m for name, m in model.named_modules() if isinstance(m, Weighted)}


@pytest.mark.parametrize("variant", ["gqa", "tied", "qwen2"])
@pytest.mark.parametrize("quantization", [Quantization.INT8, Quantization.INT8_WEIGHT_ONLY])
def test_all_but_an_embedding_of_its_own(
    saved: Saved, variant: str, quantization: Quantization
) -> None:
    folder = saved(variant)[1]
    plain, model = load(folder, Quantization.NONE), load(folder, quantization)
    before = weighted(plain)
    for name, layer in weighted(model).items():
        matrix, weight = layer.matrix, before[name].weight
        if name == "embed_tokens" and not model.config.tie_word_embeddings:
            assert isinstance(matrix, TorchMatrix)
            assert torch.equal(matrix.weight(), weight)
            continue
        assert isinstance(matrix, TorchInt8Matrix)
        assert matrix.weight_only is (quantization is Quantization.INT8_WEIGHT_ONLY)
        assert all(map(torch.equal, matrix.int8(), quantize_weight(weight)))
    same = {name: p for name, p in model.named_parameters() if ".matrix." not in name}
    assert same
    for name, parameter in same.items():
        assert torch.equal(parameter, dict(plain.named_parameters())[name])


def test_a_weight_is_let_go_when_the_last_of_it_was_read() -> None:
    layers = [ColumnParallelLinear(8, (Columns(4, 0, 4), Columns(5, 0, 5)), True) for _ in "ab"]
    parts: dict[str, Part] = {}
    for name, layer in zip("ab", layers, strict=True):
        parts |= layer.checkpoint_parts(f"{name}.", ("q", "k"))
        layer.weight.copy_(torch.randn(9, 8))
    names, read = set(parts), [weakref.ref(layer.matrix) for layer in layers]
    first = quantize_weight(layers[0].weight)

    def quantized(layer: Weighted) -> Matrix:
        weight = quantize_weight(layer.weight)
        return TorchInt8Matrix(weight, torch.float32, weight_only=False)

    packer = LayerPacker(layers, parts, quantized)
    for name in ("a.q.weight", "b.k.weight", "a.q.bias"):
        packer.loaded(name)
    assert all(ref() is not None for ref in read)
    packer.loaded("a.k.weight")
    assert read[0]() is None
    assert read[1]() is not None
    assert set(parts) == names - {"a.q.weight", "a.k.weight", "b.k.weight"}
    matrix = layers[0].matrix
    assert isinstance(matrix, TorchInt8Matrix)
    assert all(map(torch.equal, matrix.int8(), first))


@pytest.mark.parametrize("variant", ["w8a16", "w8a16_tensor_head", "w8a8"])
def test_layers_that_are_int8_in_the_checkpoint_are_finished_while_it_is_read(variant: str) -> None:
    folder = COMPRESSED / variant
    config = read_model_config(folder)
    assert config.compressed is not None
    model = LlamaForCausalLM(config, 64)
    make_compressed(model, config.compressed, torch.float32, torch.device("cpu"))
    parts, made = model.checkpoint_parts(), list[Weighted]()
    layers = [layer for layer in model.modules() if isinstance(layer, Weighted)]

    def make(layer: Weighted) -> Matrix:
        made.append(layer)
        return layer.matrix

    packer = LayerPacker(layers, parts, make)
    for name in list(parts):
        packer.loaded(name)
        if name.endswith("down_proj.weight"):
            assert model.layers[0].mlp.down_proj not in made  # its scales are still to come
    assert set(map(id, made)) == set(map(id, layers))
    assert all("norm" in name for name in parts)


@pytest.mark.parametrize("variant", ["gqa", "mha", "tied", "biases"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group", [SINGLE, Single(1, 2)], ids=["alone", "shared"])
def test_weights_packed_as_they_are_read_are_the_same(
    saved: Saved, variant: str, dtype: torch.dtype, group: Group
) -> None:
    skip_unless_packed()
    folder = saved(variant)[1]
    plain = weighted(load(folder, dtype=dtype, group=group))
    native = load(folder, dtype=dtype, backend=AttentionBackend.NATIVE, group=group)
    for name, layer in weighted(native).items():
        assert isinstance(layer.matrix, PackedMatrix)
        assert torch.equal(layer.weight, plain[name].weight)


@pytest.mark.parametrize("variant", ["gqa", "tied", "qwen2"])
@pytest.mark.parametrize("quantization", [Quantization.INT8, Quantization.INT8_WEIGHT_ONLY])
@pytest.mark.parametrize("group", [SINGLE, Single(1, 2)], ids=["alone", "shared"])
def test_weights_made_int8_as_they_are_read_are_those_made_so_after(
    saved: Saved,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    quantization: Quantization,
    group: Group,
) -> None:
    skip_unless_packed()
    folder = saved(variant)[1]
    at_once = load(folder, quantization, backend=AttentionBackend.NATIVE, group=group)
    monkeypatch.setattr(NativeOperations, "empty_int8_matrix", lambda *_, **__: None)
    after = weighted(load(folder, quantization, backend=AttentionBackend.NATIVE, group=group))
    for name, layer in weighted(at_once).items():
        other = after[name].matrix
        assert type(layer.matrix) is type(other)
        for parameter, value in layer.matrix.named_parameters():
            assert torch.equal(value, other.get_parameter(parameter)), (name, parameter)


@pytest.mark.parametrize(
    ("sizes", "at_once"), [((64, 32, 9), True), ((48, 32, 9), False), ((9,), True)]
)
def test_parts_that_begin_where_panels_do_are_packed_at_once(
    sizes: tuple[int, ...], at_once: bool
) -> None:
    skip_unless_packed()
    operations = NativeOperations(load_kernels(), torch.float32)
    layer = ColumnParallelLinear(8, tuple(Columns(n, 0, n) for n in sizes), True)
    wanted = torch.randn(sum(sizes), 8)
    names = "abc"[: len(sizes)]
    parts = layer.checkpoint_parts("", tuple(names))
    packer = LayerPacker(
        [layer],
        parts,
        lambda layer: operations.matrix(layer.weight),
        lambda layer: operations.empty_matrix(layer.weight),
    )
    assert not packer.take("a.bias", torch.zeros(sizes[0]))
    for name, rows in reversed(list(zip(names, torch.split(wanted, list(sizes)), strict=True))):
        assert isinstance(layer.matrix, TorchMatrix)
        assert packer.take(f"{name}.weight", rows) is at_once
        if not at_once:
            parts[f"{name}.weight"].tensor.copy_(rows)
        packer.loaded(f"{name}.weight")
    assert isinstance(layer.matrix, PackedMatrix)
    assert torch.equal(layer.weight, wanted)
    assert set(parts) == {f"{name}.bias" for name in names}


def test_a_weight_of_which_a_part_is_made_up_is_not_packed_at_once() -> None:
    """As the rows of a vocabulary that does not divide among ranks: zeros that no file has."""
    skip_unless_packed()
    operations = NativeOperations(load_kernels(), torch.float32)
    layer = VocabParallel(65, 8, Single(1, 2))
    parts = layer.checkpoint_parts("weight")
    packer = LayerPacker(
        [layer], parts, lambda _: layer.matrix, lambda layer: operations.empty_matrix(layer.weight)
    )
    assert not packer.take("weight", torch.randn(32, 8))


def skip_unless_packed() -> None:
    try:
        if load_kernels().best is InstructionSet.PORTABLE:
            pytest.skip("without wide vectors nothing is packed")
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
