"""What a model costs: parameters, bytes and floating point operations, from its configuration.

Formulas: Kaplan et al., "Scaling Laws for Neural Language Models" (arXiv 2001.08361, section 2.1)
for 2 FLOP per parameter and token; Pope et al., "Efficiently Scaling Transformer Inference" (arXiv
2211.05102) for the KV cache and its sharing under tensor parallelism.
"""

from dataclasses import dataclass

from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.partition import divides_into

BYTES = {"BF16": 2, "FP32": 4, "FP8": 1}
"""Bytes per value of a number format."""


@dataclass(frozen=True)
class ModelFacts:
    """Derived sizes of one model.

    `linear_parameters` are those that every token is multiplied with in the layers,
    `head_parameters` those of the output projection, which only sequences that emit a token need;
    `other_parameters` (input embedding, norms, biases) are stored but cost no matrix product.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    linear_parameters: int
    head_parameters: int
    other_parameters: int

    @property
    def parameters(self) -> int:
        """All parameters; a tied output projection counts once."""
        return self.linear_parameters + self.head_parameters + self.other_parameters

    @property
    def flops_per_token(self) -> int:
        """FLOP that the layers' matrix products cost per new token: one multiply, one add."""
        return 2 * self.linear_parameters

    @property
    def flops_per_logits(self) -> int:
        """FLOP of the output projection per emitted token."""
        return 2 * self.hidden_size * self.vocab_size

    @property
    def attention_flops_per_pair(self) -> int:
        """FLOP per new token and context token it attends to: q·k and the weighted sum of v."""
        return 4 * self.layers * self.attention_heads * self.head_dim

    def weights_bytes(self, precision: str) -> int:
        """Bytes of all weights in `precision` (a key of BYTES)."""
        return self.parameters * BYTES[precision]

    def kv_bytes_per_token(self, precision: str, tensor_parallel_size: int = 1) -> int:
        """Bytes of one token's keys and values on one of `tensor_parallel_size` accelerators.

        Where there are more accelerators than KV heads, each holds a copy of one head.
        """
        heads = max(1, self.kv_heads // tensor_parallel_size)
        return 2 * self.layers * heads * self.head_dim * BYTES[precision]

    def divides_into(self, tensor_parallel_size: int) -> bool:
        """Whether heads and MLP divide evenly over so many accelerators."""
        return divides_into(
            self.attention_heads, self.kv_heads, self.intermediate_size, tensor_parallel_size
        )


def model_facts(config: ModelConfig) -> ModelFacts:
    """The sizes of a Llama-like model: grouped-query attention and a gated MLP."""
    hidden, layers = config.hidden_size, config.num_layers
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    attention = hidden * (queries + 2 * keys) + queries * hidden
    mlp = 3 * hidden * config.intermediate_size
    biases = layers * (
        (queries + 2 * keys + hidden if config.attention_bias else 0)
        + (2 * config.intermediate_size + hidden if config.mlp_bias else 0)
    )
    norms = (2 * layers + 1) * hidden
    embedding = config.vocab_size * hidden
    return ModelFacts(
        layers=layers,
        hidden_size=hidden,
        intermediate_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        attention_heads=config.num_attention_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        linear_parameters=layers * (attention + mlp),
        head_parameters=embedding,
        other_parameters=(0 if config.tie_word_embeddings else embedding) + norms + biases,
    )
