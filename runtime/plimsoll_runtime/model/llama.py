"""Llama (arXiv:2302.13971; grouped-query attention and long contexts as in arXiv:2407.21783).

T is the number of tokens in the step, all sequences one after the other without padding.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from plimsoll_runtime.attention.paged import Attention
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.model.rope import inverse_frequencies, rotate, rotation_table


class RMSNorm(nn.Module):
    """x / rms(x) in fp32, then times the weight in the model's dtype (arXiv:1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """`[T, size]` to `[T, size]`."""
        normed = F.rms_norm(x.float(), self.weight.shape, None, self.eps)
        return self.weight * normed.to(x.dtype)


class Linear(nn.Module):
    """Several projections of the same input as one: `outputs` are their sizes.

    Weights stay uninitialised until they are loaded.
    """

    def __init__(self, inputs: int, outputs: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        self.outputs = outputs
        size = sum(outputs)
        self.weight = nn.Parameter(torch.empty(size, inputs), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """`[T, inputs]` to `[T, sum(outputs)]`."""
        return F.linear(x, self.weight, self.bias)

    def checkpoint_tensors(self, prefix: str, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Where each projection's own tensors go: rows of the fused ones."""
        fused = {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})
        return {
            f"{prefix}{name}.{kind}": rows
            for kind, tensor in fused.items()
            for name, rows in zip(names, torch.split(tensor, list(self.outputs)), strict=True)
        }


class SelfAttention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_kv_heads
        self.head_dim = config.head_dim
        q_size = self.num_heads * self.head_dim
        kv_size = self.num_kv_heads * self.head_dim
        bias = config.attention_bias
        self.qkv_proj = Linear(config.hidden_size, (q_size, kv_size, kv_size), bias)
        self.o_proj = Linear(q_size, (config.hidden_size,), bias)

    def forward(self, x: Tensor, table: Tensor, attention: Attention) -> Tensor:
        """`x` is `[T, hidden]`, `table` the rotation of each token `[T, 2, head_dim / 2]`."""
        rotated = self.num_heads + self.num_kv_heads
        qkv = self.qkv_proj(x).view(-1, rotated + self.num_kv_heads, self.head_dim)
        qk = rotate(qkv[:, :rotated], table)  # queries and keys in one go
        query, key = qk[:, : self.num_heads], qk[:, self.num_heads :]
        attended = attention.forward(self.layer, query, key, qkv[:, rotated:])
        out: Tensor = self.o_proj(attended.flatten(1))  # [T, heads, head_dim] -> [T, hidden]
        return out


class MLP(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_up_proj = Linear(hidden, (inner, inner), config.mlp_bias)
        self.down_proj = Linear(inner, (hidden,), config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[T, hidden]` to `[T, hidden]`."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out


class DecoderLayer(nn.Module):
    """Pre-norm attention and MLP, each on a residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = SelfAttention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, table: Tensor, attention: Attention) -> Tensor:
        """`[T, hidden]` to `[T, hidden]`."""
        x = x + self.self_attn(self.input_layernorm(x), table, attention)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out

    def checkpoint_tensors(self, prefix: str) -> dict[str, Tensor]:
        """Where this layer's tensors of a checkpoint go."""
        attn, mlp = self.self_attn, self.mlp
        return {
            f"{prefix}input_layernorm.weight": self.input_layernorm.weight,
            f"{prefix}post_attention_layernorm.weight": self.post_attention_layernorm.weight,
            **attn.qkv_proj.checkpoint_tensors(
                f"{prefix}self_attn.", ("q_proj", "k_proj", "v_proj")
            ),
            **attn.o_proj.checkpoint_tensors(f"{prefix}self_attn.", ("o_proj",)),
            **mlp.gate_up_proj.checkpoint_tensors(f"{prefix}mlp.", ("gate_proj", "up_proj")),
            **mlp.down_proj.checkpoint_tensors(f"{prefix}mlp.", ("down_proj",)),
        }


class LlamaForCausalLM(nn.Module):
    """The model, with uninitialised weights in torch's default dtype and device.

    `max_model_len` is the longest sequence it will see, prompt and output.
    """

    rotations: Tensor

    def __init__(self, config: ModelConfig, max_model_len: int) -> None:
        super().__init__()
        self.config = config
        size = (config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Parameter(torch.empty(size), requires_grad=False)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        tied = config.tie_word_embeddings
        self.lm_head = (
            self.embed_tokens if tied else nn.Parameter(torch.empty(size), requires_grad=False)
        )
        with torch.device("cpu"):
            inv_freq = inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
            rotations = rotation_table(inv_freq, max_model_len)
        self.register_buffer("rotations", rotations.to(self.embed_tokens.device), persistent=False)

    def forward(
        self, token_ids: Tensor, positions: Tensor, attention: Attention, sample_rows: Tensor
    ) -> Tensor:
        """Logits `[rows, vocab]` fp32, for the tokens in `sample_rows` only.

        `token_ids` and `positions` are `[T]` int64; `attention` has been told of the step.
        """
        x = self.hidden_states(token_ids, positions, attention)
        return self.logits(x.index_select(0, sample_rows))

    def hidden_states(self, token_ids: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """What the last layer makes of every token, `[T, hidden]`."""
        x = F.embedding(token_ids, self.embed_tokens)  # [T, hidden]
        table = self.rotations.index_select(0, positions)  # [T, 2, head_dim / 2]
        for layer in self.layers:
            x = layer(x, table, attention)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states `[rows, hidden]` to logits `[rows, vocab]` fp32."""
        return F.linear(self.norm(x), self.lm_head).float()

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """Where each tensor of a Hugging Face checkpoint goes, by its name there."""
        tensors: dict[str, Tensor] = {
            "model.embed_tokens.weight": self.embed_tokens,
            "model.norm.weight": self.norm.weight,
        }
        if not self.config.tie_word_embeddings:
            tensors["lm_head.weight"] = self.lm_head
        for i, layer in enumerate(self.layers):
            if isinstance(layer, DecoderLayer):
                tensors |= layer.checkpoint_tensors(f"model.layers.{i}.")
        return tensors
