"""Quantizes checkpoints as compressed-tensors does, for tests."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.unit.plimsoll_runtime.model.int32_words import pack

# As llm-compressor writes it for W8A8.
W8A8: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "kv_cache_scheme": None,
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
                "group_size": None,
                "actorder": None,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
            "output_activations": None,
        }
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    """W8A8 with another value at `path`, `group.` standing for the group's."""
    config = copy.deepcopy(W8A8)
    at = config
    *folders, last = path.replace("group.", "config_groups.group_0.").split(".")
    for folder in folders:
        at = at[folder]
    at[last] = value
    return config


def write(folder: Path, to: Path, quantization: dict[str, Any]) -> dict[str, Tensor]:
    """The checkpoint in `folder`, quantized; returns the weights that it stands for."""
    shutil.copytree(folder, to)
    config = json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
    strategy = quantization["config_groups"]["group_0"]["weights"]["strategy"]
    tensors, exact = {}, {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        is_head = name == "lm_head.weight" and not quantization["ignore"]
        if not name.endswith("proj.weight") and not is_head:
            tensors[name] = exact[name] = tensor
            continue
        largest = tensor.abs().amax(1, keepdim=True)
        scale = (largest if strategy == "channel" else largest.amax().view(1)) / 127
        numbers = (tensor / scale).round().to(torch.int8)
        tensors[name + "_scale"] = scale
        if quantization["format"] == "pack-quantized":
            tensors[name + "_packed"] = pack(numbers)
            tensors[name + "_shape"] = torch.tensor(numbers.shape)
        else:
            tensors[name] = numbers
        exact[name] = numbers * scale
    save_file(tensors, to / "model.safetensors")
    return exact
