"""Quantized checkpoints: read as they were written, computed as what they stand for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from plimsoll_runtime.core.model_config import UnsupportedModelError
from plimsoll_runtime.model.int8 import TorchInt8Matrix
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.parallel import Single, Weighted
from plimsoll_runtime.model.weights import WeightsError
from tests.unit.plimsoll_runtime.model.compressed_checkpoint import W8A8, changed, write

Saved = Callable[[str], tuple[Any, Path]]


def load(folder: Path, group: Single = Single()) -> LlamaForCausalLM:  # noqa: B008 - frozen
    config = read_model_config(folder)
    return load_model(
        folder,
        config,
        dtype=torch.float32,
        device=torch.device("cpu"),
        max_model_len=64,
        group=group,
    )


def weights(model: LlamaForCausalLM) -> dict[str, Tensor]:
    return {name: m.weight for name, m in model.named_modules() if isinstance(m, Weighted)}


@pytest.mark.parametrize("number_format", ["int-quantized", "pack-quantized"])
@pytest.mark.parametrize("strategy", ["channel", "tensor"])
@pytest.mark.parametrize("variant", ["gqa", "tied", "qwen2"])
def test_weights_are_those_that_the_checkpoint_stands_for(
    saved: Saved, tmp_path: Path, variant: str, strategy: str, number_format: str
) -> None:
    config = changed("group.weights.strategy", strategy)
    config["format"] = number_format
    if variant == "gqa":  # the head as well, and activations as they are
        config |= {"ignore": []}
        config["config_groups"]["group_0"]["input_activations"] = None
    exact = write(saved(variant)[1], tmp_path / "quantized", config)
    model = load(tmp_path / "quantized")
    save_folder = tmp_path / "exact"
    shutil.copytree(saved(variant)[1], save_folder)
    save_file(exact, save_folder / "model.safetensors")
    theirs = dict(load(save_folder).named_modules())
    count = 0
    for name, layer in model.named_modules():
        if isinstance(layer, Weighted):
            other = theirs[name]
            assert isinstance(other, Weighted)
            torch.testing.assert_close(layer.weight, other.weight, atol=0, rtol=1e-6)
            if isinstance(layer.matrix, TorchInt8Matrix):
                count += 1
                assert layer.matrix.weight_only is (variant == "gqa")
    assert count == 4 * model.config.num_layers + (variant == "gqa")


def test_ranks_read_their_share(saved: Saved, tmp_path: Path) -> None:
    write(saved("gqa")[1], tmp_path / "quantized", W8A8)
    whole = weights(load(tmp_path / "quantized"))
    for rank in range(2):
        part = weights(load(tmp_path / "quantized", Single(rank, 2)))
        name = "layers.0.self_attn.o_proj"
        width = part[name].shape[1]
        assert torch.equal(part[name], whole[name][:, rank * width : (rank + 1) * width])
        name = "layers.0.mlp.gate_up_proj"
        height = len(part[name]) // 2
        gate = whole[name][rank * height : (rank + 1) * height]
        assert torch.equal(part[name][:height], gate)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("quant_method", "gptq"),
        ("format", "float-quantized"),
        ("format", "marlin-24"),
        ("transform_config", {"config_groups": {"u": {"type": "hadamard"}}}),
        ("group.weights.num_bits", 4),
        ("group.weights.actorder", "group"),
        ("group.weights.type", "float"),
        ("group.weights.symmetric", False),
        ("group.weights.strategy", "group"),
        ("group.input_activations.dynamic", False),
        ("group.input_activations.strategy", "tensor"),
        ("group.targets", ["re:.*q_proj"]),
        ("kv_cache_scheme", {"num_bits": 8}),
        ("ignore", ["model.layers.0.mlp.down_proj"]),
        ("config_groups", {}),
    ],
)
def test_all_else_is_refused_by_name(
    saved: Saved, tmp_path: Path, path: str, value: object
) -> None:
    folder = saved("gqa")[1]
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = changed(path, value)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=path.rpartition(".")[2]) as error:
        read_model_config(tmp_path)
    assert "unquantized" in str(error.value)


def test_numbers_of_another_type_are_refused(saved: Saved, tmp_path: Path) -> None:
    write(saved("gqa")[1], tmp_path / "quantized", W8A8)
    path = tmp_path / "quantized" / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.0.mlp.down_proj.weight"
    save_file(tensors | {name: tensors[name].float()}, path)
    with pytest.raises(WeightsError, match=r"down_proj.*float32, but config.json makes it.*int8"):
        load(tmp_path / "quantized")
