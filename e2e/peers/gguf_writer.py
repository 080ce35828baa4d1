"""`python -m e2e.peers.gguf_writer FOLDER FILE`: a random model as GGUF in bfloat16.

Runs in llama.cpp's environment. Written by hand, as the converter that comes with llama.cpp knows
only published tokenizers.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    """What llama.cpp calls a tensor of transformers."""
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{NAMES[module]}.{kind}"


def rotated_heads(name: str, config: dict[str, Any]) -> int:
    """Heads whose rows must be interleaved: llama.cpp rotates neighbours in the Llama architecture,
    transformers the two halves; 0 for tensors that stay."""
    if config["model_type"] != "llama":
        return 0
    if ".q_proj." in name:
        return int(config["num_attention_heads"])
    return int(config["num_key_value_heads"]) if ".k_proj." in name else 0


def tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Names and their bfloat16 as uint16, file by file."""
    import numpy as np

    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            for name, told in json.loads(opened.read(length)).items():
                if name == "__metadata__":
                    continue
                begin, end = told["data_offsets"]
                opened.seek(8 + length + begin)
                yield (
                    name,
                    np.frombuffer(opened.read(end - begin), np.uint16).reshape(told["shape"]),
                )


def write(folder: Path, target: Path) -> None:
    """Writes the file."""
    import gguf
    import numpy as np

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    made = gguf.GGUFWriter(str(target), config["model_type"])
    made.add_name(folder.name)
    made.add_context_length(config["max_position_embeddings"])
    made.add_embedding_length(config["hidden_size"])
    made.add_block_count(config["num_hidden_layers"])
    made.add_feed_forward_length(config["intermediate_size"])
    made.add_head_count(config["num_attention_heads"])
    made.add_head_count_kv(config["num_key_value_heads"])
    made.add_layer_norm_rms_eps(config["rms_norm_eps"])
    made.add_rope_freq_base(config["rope_theta"])
    made.add_rope_dimension_count(config["head_dim"])
    made.add_vocab_size(config["vocab_size"])
    made.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    _add_tokenizer(made, folder)
    for name, found in tensors(folder):
        heads = rotated_heads(name, config)
        rows = found
        if heads:
            halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
            rows = halves.swapaxes(1, 2).reshape(rows.shape)
        if rows.ndim == 1:
            wide = (rows.astype(np.uint32) << 16).view(np.float32)
            made.add_tensor(gguf_name(name), wide)
        else:
            raw = np.ascontiguousarray(rows).view(np.uint8)
            made.add_tensor(gguf_name(name), raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()


def _add_tokenizer(made: Any, folder: Path) -> None:
    import gguf

    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("gpt-2")
    made.add_token_list(tokens)
    made.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    made.add_token_merges(merges)
    made.add_bos_token_id(0)
    made.add_eos_token_id(2)
    made.add_add_bos_token(value=False)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
