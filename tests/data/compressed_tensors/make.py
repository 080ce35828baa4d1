"""Wrote the checkpoints in this folder; run it where llm-compressor 0.14 is installed.

    python tests/data/compressed_tensors/make.py

A random Llama, quantized by llm-compressor (Apache-2.0) as its documentation does it. Beside each
checkpoint lies what the same libraries read from it: a hash of every weight's int8 numbers, and
logits. Sizes are awkward on purpose: rows of 30, 28 and 46 numbers fill no words of four, and
halves of 14 and 23 for two ranks begin inside of a word.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from safetensors import safe_open
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
CONFIG = LlamaConfig(
    hidden_size=30,
    intermediate_size=46,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=14,
    vocab_size=37,
    max_position_embeddings=64,
    tie_word_embeddings=False,
    initializer_range=0.3,
    dtype=torch.bfloat16,
)
CHANNEL = QuantizationArgs(num_bits=8, strategy="channel")
TENSOR = QuantizationArgs(num_bits=8, strategy="tensor")
TOKEN = QuantizationArgs(num_bits=8, strategy="token", dynamic=True, observer=None)
# Weights, activations, and what is left out.
VARIANTS = {
    "w8a16": (CHANNEL, None, ["lm_head"]),
    "w8a16_tensor_head": (TENSOR, None, []),
    "w8a8": (CHANNEL, TOKEN, ["lm_head"]),
}


def main() -> None:
    """Writes all of them."""
    torch.manual_seed(7)
    plain = tempfile.mkdtemp()
    LlamaForCausalLM(CONFIG).to(torch.bfloat16).save_pretrained(plain)
    for name, (weights, activations, ignore) in VARIANTS.items():
        model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.bfloat16)
        scheme = QuantizationScheme(
            targets=["Linear"], weights=weights, input_activations=activations
        )
        oneshot(
            model=model,
            recipe=QuantizationModifier(config_groups={"group_0": scheme}, ignore=ignore),
        )
        folder = HERE / name
        model.save_pretrained(folder, save_compressed=True)
        for path in folder.iterdir():
            if path.name not in ("config.json", "model.safetensors"):
                path.unlink()
        expected = {"tokens": TOKENS, "numbers": numbers(folder), "logits": logits(folder)}
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def numbers(folder: Path) -> dict[str, str]:
    """SHA-256 of each quantized weight's int8 numbers, row by row."""
    found = {}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - no mapping
            layer, _, kind = key.rpartition(".")
            tensor = file.get_tensor(key)
            if kind == "weight_packed":
                shape = torch.Size(file.get_tensor(f"{layer}.weight_shape").tolist())
                tensor = unpack_from_int32(tensor, 8, shape)
            if tensor.dtype == torch.int8:
                found[layer] = hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
    return found


@torch.inference_mode()
def logits(folder: Path) -> list[list[float]]:
    """What transformers computes in fp32 for every token."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = model(torch.tensor([TOKENS])).logits[0]
    return [[round(value, 5) for value in row] for row in rows.tolist()]


if __name__ == "__main__":
    main()
