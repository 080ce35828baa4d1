"""Writes a trained model as the folder that every Llama loader reads."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from plimsoll_runtime.builtin.train.architecture import (
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER_CONFIG,
)


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> int:
    """Write weights (bfloat16), configuration and tokenizer into `out`; return their bytes.

    The tied output embedding is stored once, as the input embedding.
    """
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    weights = out / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors leaves it to its owner; the engine runs as another user
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    _write_json(out / "config.json", CONFIG)
    _write_json(out / "generation_config.json", GENERATION_CONFIG)
    _write_json(out / "tokenizer_config.json", TOKENIZER_CONFIG)
    return sum(file.stat().st_size for file in out.iterdir())


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
