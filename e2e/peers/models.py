"""Random weights in the shapes of SmolLM2 135M and Qwen2.5 0.5B: as fast as trained ones."""

import json
import shutil
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
_VERSION = 2
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

    def beside(self, suffix: str) -> Path:
        """Where it is in another format."""
        return self.folder.with_name(f"{self.folder.name}.{suffix}")

    @cached_property
    def facts(self) -> ModelFacts:
        """What the planner knows of it."""
        return model_facts(read_model(self.config))

    def make(self) -> Path:
        """Writes it, unless it is there."""
        if not self.folder.exists():
            new = self.beside("new")
            shutil.rmtree(new, ignore_errors=True)
            random_llama.write(self.config, new)
            if self._has_biases:
                _add(new, self._biases())
            (new / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
            )
            new.rename(self.folder)
        return self.folder

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


def _add(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """As a second shard. A file of the usual name would be read for all there is."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    second = folder / "model-00002-of-00002.safetensors"
    save_file(tensors, second, metadata={"format": "pt"})
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
