"""Every tensor of a checkpoint is accounted for, and what does not fit is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from plimsoll_runtime.core.model_config import UnsupportedModelError
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.weights import WeightsError

Saved = Callable[[str], tuple[torch.nn.Module, Path]]
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


def load(folder: Path, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    config = read_model_config(folder)
    return load_model(folder, config, dtype=dtype, device=torch.device("cpu"), max_model_len=16)


def tensors_of(model: LlamaForCausalLM) -> dict[str, Tensor]:
    """Where each tensor of the checkpoint went."""
    return {name: part.tensor for name, part in model.checkpoint_parts().items()}


@pytest.fixture
def checkpoint(saved: Saved, tmp_path: Path) -> tuple[dict[str, Tensor], Path]:
    """A copy of a checkpoint to spoil: its tensors, and a folder with its config.json only."""
    _, folder = saved("gqa")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    return load_file(folder / "model.safetensors"), tmp_path


def save(tensors: dict[str, Tensor], folder: Path) -> None:
    save_file(tensors, folder / "model.safetensors")


def test_every_parameter_is_filled_from_the_checkpoint(saved: Saved) -> None:
    oracle, folder = saved("biases")
    targets = tensors_of(load(folder))
    state = oracle.state_dict()
    assert set(targets) == set(state)
    for name, tensor in targets.items():
        assert torch.equal(tensor, state[name]), name


def test_the_fused_weights_have_no_row_besides_the_checkpoints(saved: Saved) -> None:
    _, folder = saved("biases")
    model = load(folder)
    own = sum(parameter.numel() for parameter in model.parameters())
    assert own == sum(tensor.numel() for tensor in tensors_of(model).values())


def test_weights_are_converted_to_the_dtype(saved: Saved) -> None:
    _, folder = saved("gqa")
    exact, rounded = tensors_of(load(folder)), load(folder, torch.bfloat16)
    for name, tensor in tensors_of(rounded).items():
        assert torch.equal(tensor, exact[name].bfloat16()), name
    assert rounded.rotations.dtype == torch.float32


def test_shards_are_read_through_their_index(
    saved: Saved, checkpoint: tuple[dict[str, Tensor], Path]
) -> None:
    tensors, folder = checkpoint
    names = sorted(tensors)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for name, tensor in tensors_of(load(folder)).items():
        assert torch.equal(tensor, tensors[name]), name
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"00002-of-00002\.safetensors, named in"):
        load(folder)


def test_a_missing_tensor_is_named(checkpoint: tuple[dict[str, Tensor], Path]) -> None:
    tensors, folder = checkpoint
    del tensors[Q_PROJ]
    save(tensors, folder)
    with pytest.raises(WeightsError, match=f"lacks {Q_PROJ}"):
        load(folder)


def test_an_unexpected_tensor_is_named(checkpoint: tuple[dict[str, Tensor], Path]) -> None:
    tensors, folder = checkpoint
    save(tensors | {"model.layers.0.self_attn.q_norm.weight": torch.ones(8)}, folder)
    with pytest.raises(WeightsError, match=r"gives no place: model.layers.0.self_attn.q_norm"):
        load(folder)


def test_a_misshapen_tensor_is_named_with_both_shapes(
    checkpoint: tuple[dict[str, Tensor], Path],
) -> None:
    tensors, folder = checkpoint
    save(tensors | {Q_PROJ: torch.ones(16, 32)}, folder)
    with pytest.raises(WeightsError, match=rf"{Q_PROJ} has shape \[16, 32\].*\[32, 32\]"):
        load(folder)


def test_quantized_tensors_are_refused(checkpoint: tuple[dict[str, Tensor], Path]) -> None:
    tensors, folder = checkpoint
    save(tensors | {Q_PROJ: torch.ones(32, 32, dtype=torch.int8)}, folder)
    with pytest.raises(WeightsError, match=f"{Q_PROJ} has dtype torch.int8"):
        load(folder)


def test_a_tied_checkpoint_may_repeat_the_head(saved: Saved, tmp_path: Path) -> None:
    _, folder = saved("tied")
    tensors = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, tmp_path)
    model = load(tmp_path)
    assert model.lm_head is model.embed_tokens


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_a_broken_file_is_an_error_not_a_crash(
    checkpoint: tuple[dict[str, Tensor], Path], content: bytes
) -> None:
    _, folder = checkpoint
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load(folder)


def test_other_formats_are_not_read(checkpoint: tuple[dict[str, Tensor], Path]) -> None:
    _, folder = checkpoint
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="only the safetensors format"):
        load(folder)


@pytest.mark.parametrize("index", ["", "{}", "[]", '{"weight_map": 3}'])
def test_a_broken_index_is_an_error(checkpoint: tuple[dict[str, Tensor], Path], index: str) -> None:
    _, folder = checkpoint
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match="not a readable index"):
        load(folder)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"config.json is missing"):
        read_model_config(tmp_path)


@pytest.mark.parametrize("text", ["", "[]"])
def test_a_broken_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UnsupportedModelError, match="JSON"):
        read_model_config(tmp_path)


def test_generation_config_adds_ends_of_sequence(saved: Saved, tmp_path: Path) -> None:
    _, folder = saved("gqa")
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_model_config(tmp_path).eos_token_ids == (2,)
    for more, expected in (([2, 5, 7], (2, 5, 7)), (5, (2, 5)), (None, (2,))):
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": more}))
        assert read_model_config(tmp_path).eos_token_ids == expected
