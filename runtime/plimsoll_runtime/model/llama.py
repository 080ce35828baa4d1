"""Llama (arXiv:2302.13971; grouped-query attention and long contexts as in arXiv:2407.21783), and
the families that differ from it by a bias or a norm: Mistral (arXiv:2310.06825), Qwen2
(arXiv:2407.10671), Qwen3 (arXiv:2505.09388).

T is the number of tokens in the step, all sequences one after the other without padding. Each
rank of a group holds its heads, MLP columns and part of the vocabulary; a rank alone holds all.
"""

import torch
from torch import Tensor, nn

from plimsoll_runtime.attention.native import NativeAttention
from plimsoll_runtime.attention.paged import Attention
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.partition import first_kv_head, shard_config
from plimsoll_runtime.model.decoder import (
    AnyPackedMatrix,
    LayerWeights,
    NativeDecoder,
    PackedLinear,
)
from plimsoll_runtime.model.operations import (
    TORCH_OPERATIONS,
    NativeOperations,
    Operations,
    in_form_of,
)
from plimsoll_runtime.model.parallel import (
    SINGLE,
    ColumnParallelLinear,
    Columns,
    Group,
    Part,
    RowParallelLinear,
    VocabParallel,
    Weighted,
)
from plimsoll_runtime.model.rope import inverse_frequencies, rotation_table


class RMSNorm(nn.Module):
    """x / rms(x), times the weight; see `Operations.add_rms_norm`."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.eps = eps

    def forward(
        self,
        x: Tensor,
        added: Tensor | None = None,
        operations: Operations = TORCH_OPERATIONS,
    ) -> Tensor:
        """`[T, size]` to `[T, size]`; x becomes x + added before."""
        return operations.add_rms_norm(x, added, self.weight, self.eps)


class SelfAttention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, layer: int, group: Group) -> None:
        super().__init__()
        self.layer = layer
        shard = shard_config(config, group.size)
        self.num_heads = shard.num_attention_heads
        self.num_kv_heads = shard.num_kv_heads
        self.head_dim = config.head_dim
        first_kv = first_kv_head(config.num_kv_heads, group.rank, group.size)
        query = self._heads(self.num_heads, group.rank * self.num_heads, config.num_attention_heads)
        key = value = self._heads(self.num_kv_heads, first_kv, config.num_kv_heads)
        shares = (query, key, value)
        self.qkv_proj = ColumnParallelLinear(config.hidden_size, shares, config.qkv_bias)
        self.o_proj = RowParallelLinear(query.size, config.hidden_size, config.output_bias, group)
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(
        self, x: Tensor, table: Tensor, attention: Attention, operations: Operations
    ) -> Tensor:
        """`x` is `[T, hidden]`, `table` the rotation of each token `[T, 2, head_dim / 2]`."""
        rotated = self.num_heads + self.num_kv_heads
        qkv = self.qkv_proj(x).view(-1, rotated + self.num_kv_heads, self.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            _normalize(qkv[:, : self.num_heads], self.q_norm, operations)
            _normalize(qkv[:, self.num_heads : rotated], self.k_norm, operations)
        qk = operations.rotate(qkv, rotated, table)  # queries and keys in one go
        query, key = qk[:, : self.num_heads], qk[:, self.num_heads :]
        attended = attention.forward(self.layer, query, key, qkv[:, rotated:])
        out: Tensor = self.o_proj(attended.flatten(1))  # [T, heads, head_dim] -> [T, hidden]
        return out

    def norm_parts(self, prefix: str) -> dict[str, Part]:
        """Where the norms of queries and keys go: all ranks have all of them."""
        norms = {"q_norm": self.q_norm, "k_norm": self.k_norm}
        return {
            f"{prefix}{name}.weight": Part.all_of(norm.weight)
            for name, norm in norms.items()
            if norm is not None
        }

    def _heads(self, count: int, first: int, of: int) -> Columns:
        return Columns(count * self.head_dim, first * self.head_dim, of * self.head_dim)


def _normalize(heads: Tensor, norm: RMSNorm, operations: Operations) -> None:
    """Each head of each token by itself, `[T, heads, head_dim]`, in place."""
    rows = heads.reshape(-1, heads.shape[-1])
    heads.copy_(norm(rows, operations=operations).view_as(heads))


class MLP(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig, group: Group) -> None:
        super().__init__()
        hidden = config.hidden_size
        inner = shard_config(config, group.size).intermediate_size
        gate = up = Columns(inner, group.rank * inner, config.intermediate_size)
        self.gate_up_proj = ColumnParallelLinear(hidden, (gate, up), config.mlp_bias)
        self.down_proj = RowParallelLinear(inner, hidden, config.mlp_bias, group)

    def forward(self, x: Tensor, operations: Operations) -> Tensor:
        """`[T, hidden]` to `[T, hidden]`."""
        inner = operations.silu_and_mul(self.gate_up_proj(x))
        out: Tensor = self.down_proj(inner)
        return out


class DecoderLayer(nn.Module):
    """Pre-norm attention and MLP, each on a residual stream."""

    def __init__(self, config: ModelConfig, layer: int, group: Group) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = SelfAttention(config, layer, group)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config, group)

    def forward(
        self,
        x: Tensor,
        added: Tensor | None,
        table: Tensor,
        attention: Attention,
        operations: Operations,
    ) -> Tensor:
        """What is to be added to the residual stream `x` `[T, hidden]`, to which this adds `added`,
        what the layer before had to add, and the attention's part."""
        normed = self.input_layernorm(x, added, operations)
        attended = self.self_attn(normed, table, attention, operations)
        out: Tensor = self.mlp(self.post_attention_layernorm(x, attended, operations), operations)
        return out

    def packed_weights(self) -> LayerWeights | None:
        """What this layer computes with, if all of it is packed."""
        attn, mlp = self.self_attn, self.mlp
        linears = []
        for linear in (attn.qkv_proj, attn.o_proj, mlp.gate_up_proj, mlp.down_proj):
            if not isinstance(linear.matrix, AnyPackedMatrix):
                return None
            linears.append(PackedLinear(linear.matrix, linear.bias))
        return LayerWeights(
            self.input_layernorm.weight,
            self.post_attention_layernorm.weight,
            None if attn.q_norm is None else attn.q_norm.weight,
            None if attn.k_norm is None else attn.k_norm.weight,
            *linears,
        )

    def checkpoint_parts(self, prefix: str) -> dict[str, Part]:
        """Where this layer's tensors of a checkpoint go."""
        attn, mlp = self.self_attn, self.mlp
        return {
            f"{prefix}input_layernorm.weight": Part.all_of(self.input_layernorm.weight),
            f"{prefix}post_attention_layernorm.weight": Part.all_of(
                self.post_attention_layernorm.weight
            ),
            **attn.qkv_proj.checkpoint_parts(f"{prefix}self_attn.", ("q_proj", "k_proj", "v_proj")),
            **attn.o_proj.checkpoint_parts(f"{prefix}self_attn.", "o_proj"),
            **attn.norm_parts(f"{prefix}self_attn."),
            **mlp.gate_up_proj.checkpoint_parts(f"{prefix}mlp.", ("gate_proj", "up_proj")),
            **mlp.down_proj.checkpoint_parts(f"{prefix}mlp.", "down_proj"),
        }


class LlamaForCausalLM(nn.Module):
    """The model, with uninitialised weights in torch's default dtype and device.

    `max_model_len` is the longest sequence it will see, prompt and output. Raises ValueError where
    the model does not divide among the ranks of `group`.
    """

    rotations: Tensor

    def __init__(self, config: ModelConfig, max_model_len: int, group: Group = SINGLE) -> None:
        super().__init__()
        self.config = config
        self.group = group
        self.operations: Operations = TORCH_OPERATIONS
        self._decoder: NativeDecoder | None = None
        self.embed_tokens = VocabParallel(config.vocab_size, config.hidden_size, group)
        self.layers = nn.ModuleList(
            DecoderLayer(config, i, group) for i in range(config.num_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = (
            self.embed_tokens
            if config.tie_word_embeddings
            else VocabParallel(config.vocab_size, config.hidden_size, group)
        )
        device = self.norm.weight.device
        with torch.device("cpu"):
            inv_freq = inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
            rotations = rotation_table(inv_freq, max_model_len)
        self.register_buffer("rotations", rotations.to(device), persistent=False)

    def quantizable(self) -> list[Weighted]:
        """All that is multiplied with, so not an embedding that is no output head as well."""
        layers = [layer for layer in self.layers.modules() if isinstance(layer, Weighted)]
        return [*layers, self.lm_head]

    def use(self, operations: Operations) -> None:
        """Computes by these from now on, with the weights in their form; after loading."""
        self.operations = operations
        for layer in list(self.modules()):
            if isinstance(layer, Weighted):
                layer.matrix = in_form_of(operations, layer.matrix)
        packed = [
            layer.packed_weights() for layer in self.layers if isinstance(layer, DecoderLayer)
        ]
        whole = [weights for weights in packed if weights is not None]
        self._decoder = None
        alone = self.group.size == 1 and len(whole) == len(packed)
        if alone and isinstance(operations, NativeOperations):
            self._decoder = operations.decoder(self.config, whole)

    def forward(
        self, token_ids: Tensor, positions: Tensor, attention: Attention, sample_rows: Tensor
    ) -> Tensor:
        """Logits `[rows, vocab]` fp32, for the tokens in `sample_rows` only.

        `token_ids` and `positions` are `[T]` int64; `attention` has been told of the step. Ranks
        other than 0 get the logits of their own tokens.
        """
        x = self.hidden_states(token_ids, positions, attention)
        return self.logits(x.index_select(0, sample_rows))

    def hidden_states(self, token_ids: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """What the last layer makes of every token, `[T, hidden]`."""
        x = self.embed_tokens.embed(token_ids)  # [T, hidden]
        table = self.rotations.index_select(0, positions)  # [T, 2, head_dim / 2]
        if self._decoder is not None and isinstance(attention, NativeAttention):
            return self._decoder.run(x, table, attention)
        added = None
        for layer in self.layers:
            added = layer(x, added, table, attention, self.operations)
        return x if added is None else x + added

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states `[rows, hidden]` to logits `[rows, vocab]` fp32.

        All ranks must call it for the same rows. Those other than 0 get the logits of their own
        tokens.
        """
        return self.lm_head.logits(self.norm(x, None, self.operations))

    def checkpoint_parts(self) -> dict[str, Part]:
        """Where each tensor of a Hugging Face checkpoint goes, by its name there."""
        parts = self.embed_tokens.checkpoint_parts("model.embed_tokens.weight")
        parts["model.norm.weight"] = Part.all_of(self.norm.weight)
        if not self.config.tie_word_embeddings:
            parts |= self.lm_head.checkpoint_parts("lm_head.weight")
        for i, layer in enumerate(self.layers):
            if isinstance(layer, DecoderLayer):
                parts |= layer.checkpoint_parts(f"model.layers.{i}.")
        return parts
