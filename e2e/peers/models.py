"""Random weights in the shapes of SmolLM2 135M and Qwen2.5 0.5B: as fast as trained ones."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from e2e.measured import random_llama
from e2e.peers.environments import CACHE
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.models.reader import read_model
from plimsoll_runtime.core.model_config import ModelConfig, UnsupportedModelError

LLAMA_135M: dict[str, Any] = {
    **random_llama.LLAMA_135M,
    "rope_theta": 100000.0,
    "max_position_embeddings": 8192,
    "eos_token_id": 2,
}
QWEN2_05B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
_BIASED = ("q_proj", "k_proj", "v_proj")
_VERSION = 1
"""Of what is written: another one is written anew."""


@dataclass(frozen=True)
class RandomModel:
    """A model of that config; its name is its folder's and what servers are told to call it."""

    name: str
    config: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where it is: config.json, bfloat16 safetensors, tokenizer."""
        return CACHE / "models" / f"{self.name}-v{_VERSION}"

    @cached_property
    def facts(self) -> ModelFacts:
        """What the planner knows of it."""
        return model_facts(read_model(self.config))

    def make(self) -> Path:
        """Writes it, unless it is there."""
        if not self.folder.exists():
            new = self.folder.with_suffix(".new")
            random_llama.write(self.config, new)
            if self._has_biases:
                _add(new, self._biases())
            (new / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
            )
            new.rename(self.folder)
        return self.folder

    def for_us(self) -> tuple[Path, str]:
        """The folder that our engine serves, and what to say of it.

        Where it does not know the architecture yet it is given the same function as a Llama, whose
        attention has biases, that of the output being 0.
        """
        folder = self.make()
        try:
            ModelConfig.from_hf(self.config)
        except UnsupportedModelError:
            return self._as_llama(folder), "as a LlamaForCausalLM with the same weights"
        return folder, ""

    @property
    def _has_biases(self) -> bool:
        return str(self.config["model_type"]) == "qwen2"

    def _biases(self) -> dict[str, torch.Tensor]:
        chance = torch.Generator().manual_seed(1)
        return {
            name.removesuffix("weight") + "bias": (
                torch.randn(shape[0], generator=chance) * 0.02
            ).to(torch.bfloat16)
            for name, shape in random_llama.shapes(self.config).items()
            if name.split(".")[-2] in _BIASED
        }

    def _as_llama(self, folder: Path) -> Path:
        twin = folder.with_name(f"{folder.name}-as-llama")
        if not twin.exists():
            new = twin.with_suffix(".new")
            new.mkdir(parents=True, exist_ok=True)
            for file in folder.iterdir():
                if file.suffix == ".safetensors" or file.name.startswith("tokenizer"):
                    (new / file.name).unlink(missing_ok=True)
                    os.link(file, new / file.name)
            config = self.config | {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "attention_bias": True,
                "mlp_bias": False,
            }
            (new / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
            outputs = {
                f"model.layers.{layer}.self_attn.o_proj.bias": torch.zeros(
                    self.config["hidden_size"], dtype=torch.bfloat16
                )
                for layer in range(self.config["num_hidden_layers"])
            }
            save_file(outputs, new / "zeros.safetensors", metadata={"format": "pt"})
            _write_index(new)
            new.rename(twin)
        return twin


def _add(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "biases.safetensors", metadata={"format": "pt"})
    _write_index(folder)


def _write_index(folder: Path) -> None:
    """Which tensor is in which file."""
    where: dict[str, str] = {}
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            names = json.loads(opened.read(length))
        size += file.stat().st_size - length - 8
        where |= {name: file.name for name in names if name != "__metadata__"}
    index = {"metadata": {"total_size": size}, "weight_map": where}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index, indent=1), encoding="utf-8")


MODELS = {
    "135m": RandomModel("random-135m", LLAMA_135M),
    "0.5b": RandomModel("random-0.5b", QWEN2_05B),
}
