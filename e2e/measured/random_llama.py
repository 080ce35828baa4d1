"""A Llama of any size with random weights: as fast as a trained one, and nothing to download."""

import json
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

Config = dict[str, Any]

LLAMA_135M: Config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "torch_dtype": "bfloat16",
}
"""The shape of SmolLM-135M: 134,515,008 parameters."""


def write(config: Config, folder: Path, seed: int = 0) -> None:
    """Writes the model into `folder`, which is made: config.json, bfloat16 weights, tokenizer."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    chance = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.ones(shape, dtype=torch.bfloat16)
        if len(shape) == 1
        else (torch.randn(shape, generator=chance) * 0.02).to(torch.bfloat16)
        for name, shape in shapes(config).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer(config["vocab_size"]).save(str(folder / "tokenizer.json"))


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of every tensor, as transformers names them; the tied output embedding is not stored."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] * config["head_dim"]
    kv_heads = config["num_key_value_heads"] * config["head_dim"]
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (heads, hidden),
            "self_attn.k_proj": (kv_heads, hidden),
            "self_attn.v_proj": (kv_heads, hidden),
            "self_attn.o_proj": (hidden, heads),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }.items():
            found[f"model.layers.{layer}.{name}.weight"] = shape
    return found


def tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE whose tokens beyond the bytes are strings of lower-case letters, the
    shorter ones first: every one is made of one that is a letter shorter."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    longer = (
        "".join(letters)
        for length in range(2, 6)
        for letters in product(ascii_lowercase, repeat=length)
    )
    words = list(islice(longer, vocab_size - len(alphabet)))
    vocabulary = {token: number for number, token in enumerate([*alphabet, *words])}
    found = Tokenizer(BPE(vocabulary, [(word[:-1], word[-1]) for word in words]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    return found
