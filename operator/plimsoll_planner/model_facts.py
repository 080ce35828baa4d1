"""What a model costs: parameters, bytes and floating point operations, from its configuration.

Formulas: Kaplan et al., "Scaling Laws for Neural Language Models" (arXiv 2001.08361, section 2.1)
for 2 FLOP per parameter and token; Pope et al., "Efficiently Scaling Transformer Inference" (arXiv
2211.05102) for the KV cache and its sharing under tensor parallelism.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from plimsoll_planner.models.attention import AnyAttention
from plimsoll_planner.models.formats import FORMATS, INT8_PANELS, INT8_WIDENED, Format
from plimsoll_planner.models.gguf import MIXTURES, sized_tensors
from plimsoll_planner.models.mlp import Experts
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.weights import Matrix, Part
from plimsoll_runtime.core.kv_cache_dtype import SCALE_BYTES

BYTES = {"BF16": 2, "FP16": 2, "FP32": 4, "FP8": 1, "INT8": 1}
"""Bytes per value of a number format that activations and KV caches are kept in."""

CHECKPOINT = "Checkpoint"
"""As a precision: the number format in which a model's weights are published."""
INT8 = "INT8"
INT8_ON_CPU = "INT8 on cpu"
"""As a precision: what the engine holds of a checkpoint that it reads as INT8, or else makes of it
on loading."""
_LINEAR = (Part.ATTENTION, Part.MLP, Part.ROUTER)
_EXPERTS = (Part.EXPERT, Part.EXPERT_BIAS)


def cached_bytes(attention: AnyAttention, precision: str, tensor_parallel_size: int = 1) -> int:
    """Bytes that a layer caches of a token on one accelerator; in INT8 with the scales."""
    size = attention.cached_values(tensor_parallel_size) * BYTES[precision]
    if precision == INT8:
        size += attention.cached_vectors(tensor_parallel_size) * SCALE_BYTES
    return size


@dataclass(frozen=True)
class AttentionLayers:
    """`count` layers with the same attention."""

    attention: AnyAttention
    count: int


@dataclass(frozen=True)
class ModelFacts:
    """Derived sizes of one model.

    Parameters are `linear_parameters`, that every token is multiplied with in the layers,
    `expert_parameters`, of which a token is multiplied with those of its experts,
    `head_parameters`, of the output projection, which only sequences that emit a token need, and
    `other_parameters` (input embedding, norms, biases, encoders of images), stored but without a
    matrix product here. A tied output projection counts as `head_parameters` alone.
    """

    model: Model

    @property
    def layers(self) -> int:
        """How many."""
        return len(self.model.layers)

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self.model.hidden_size

    @property
    def vocab_size(self) -> int:
        """Rows of the output projection."""
        return self.model.vocab_size

    @cached_property
    def intermediate_size(self) -> int:
        """Most MLP columns that one token uses in a layer, of all its experts together."""
        return max(
            (layer.mlp.width if layer.mlp else 0)
            + (layer.experts.per_token * layer.experts.width if layer.experts else 0)
            for layer in self.model.layers
        )

    @property
    def attention_heads(self) -> int:
        """Query heads of the layer with most."""
        return max(kind.attention.heads for kind in self.attention)

    @property
    def kv_heads(self) -> int:
        """KV heads of the layer with most."""
        return max(kind.attention.kv_heads for kind in self.attention)

    @property
    def head_dim(self) -> int:
        """Of the layer with the largest."""
        return max(kind.attention.head_dim for kind in self.attention)

    @cached_property
    def attention(self) -> tuple[AttentionLayers, ...]:
        """The layers by their attention."""
        kinds = Counter(layer.attention for layer in self.model.layers)
        return tuple(AttentionLayers(kind, count) for kind, count in kinds.items())

    @cached_property
    def experts(self) -> tuple[tuple[Experts, int], ...]:
        """Kinds of routed experts with the number of layers that have them; none if dense."""
        kinds = Counter(layer.experts for layer in self.model.layers if layer.experts)
        return tuple(kinds.items())

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """All weights."""
        return self.model.matrices()

    @cached_property
    def linear_parameters(self) -> int:
        """Of the layers' matrices that every token is multiplied with, routers included."""
        return self._count(*_LINEAR)

    @cached_property
    def expert_parameters(self) -> int:
        """Of all routed experts."""
        return self._count(*_EXPERTS)

    @cached_property
    def active_expert_parameters(self) -> int:
        """Of the routed experts that one token goes through."""
        return sum(
            layers * experts.per_token * matrix.rows * matrix.columns
            for experts, layers in self.experts
            for matrix in experts.matrices(self.hidden_size)
            if matrix.part in _EXPERTS
        )

    @cached_property
    def head_parameters(self) -> int:
        """Of the output projection, tied or not."""
        return self.hidden_size * self.vocab_size

    @cached_property
    def other_parameters(self) -> int:
        """Of what costs no matrix product."""
        tied = self.head_parameters if self.model.tied else 0
        return self._count(Part.EMBEDDING, Part.VECTOR, Part.ENCODER) - tied

    @property
    def parameters(self) -> int:
        """All parameters; a tied output projection counts once."""
        return (
            self.linear_parameters
            + self.expert_parameters
            + self.head_parameters
            + self.other_parameters
        )

    @cached_property
    def active_parameters(self) -> int:
        """All but encoders and the experts that one token does not go through."""
        idle = self.expert_parameters - self.active_expert_parameters
        return self.parameters - idle - self._count(Part.ENCODER)

    @property
    def flops_per_token(self) -> int:
        """FLOP that the layers' matrix products cost per new token: one multiply, one add."""
        return 2 * (self.linear_parameters + self.active_expert_parameters)

    @property
    def flops_per_logits(self) -> int:
        """FLOP of the output projection per emitted token."""
        return 2 * self.hidden_size * self.vocab_size

    @cached_property
    def attention_flops_per_pair(self) -> int:
        """FLOP per new token and context token it attends to in all layers, as in prefill."""
        return sum(kind.count * kind.attention.flops_per_pair for kind in self.attention)

    @cached_property
    def decode_attention_flops_per_pair(self) -> int:
        """The same in decode, where latent attention works on the latent itself."""
        return sum(kind.count * kind.attention.decode_flops_per_pair for kind in self.attention)

    def experts_touched(self, tokens: float) -> float:
        """Expected share of all routed experts that a step over `tokens` reads, from 0 to 1; 0
        where there are none."""
        everything = sum(experts.count * layers for experts, layers in self.experts)
        touched = sum(experts.touched(tokens) * layers for experts, layers in self.experts)
        return touched / everything if everything else 0.0

    def format(self, precision: str) -> Format:
        """The number format of that name: a key of FORMATS, INT8_ON_CPU, or CHECKPOINT for the one
        that the model is published in; the latter also by its own name, which leaves its groups and
        what it does not quantize as they are. Raises ValueError for any other."""
        if precision in (CHECKPOINT, self.model.checkpoint.name):
            return self.model.checkpoint
        if precision == INT8_ON_CPU:
            return self._int8_on_cpu()
        known = FORMATS.get(precision)
        if known is None:
            raise ValueError(
                f"no number format {precision!r}; there are {', '.join((*FORMATS, *MIXTURES))}"
            )
        return known

    def weights_bytes(self, precision: str, tensor_parallel_size: int = 1) -> int:
        """Bytes of all weights on one of `tensor_parallel_size` accelerators.

        `precision` is one that `format` knows, or a key of GGUF's MIXTURES. What tensor
        parallelism does not divide, such as norms, routers and KV heads fewer than accelerators,
        is held by each. Raises ValueError for any other.
        """
        if precision in MIXTURES:
            sized = sized_tensors(self.model, precision)
            return sum(-(-size // matrix.share(tensor_parallel_size)) for matrix, size in sized)
        known = self.format(precision)
        return sum(known.share_of(matrix, tensor_parallel_size) for matrix in self.matrices)

    def linear_bytes(self, precision: str) -> int:
        """Bytes of the weights in the layers that every step reads: all but routed experts."""
        return self._bytes(precision, *_LINEAR)

    def expert_bytes(self, precision: str) -> int:
        """Bytes of all routed experts, of which a step reads the share `experts_touched`."""
        return self._bytes(precision, *_EXPERTS)

    def head_bytes(self, precision: str) -> int:
        """Bytes of the output projection, tied or not."""
        return self._bytes(precision, self.head_part)

    def kv_bytes_per_token(self, precision: str, tensor_parallel_size: int = 1) -> int:
        """Bytes that one more token caches on one of `tensor_parallel_size` accelerators, while
        the context is within every window.

        Where there are more accelerators than KV heads, each holds a copy of one head; latent
        attention's cache is whole on each.
        """
        return sum(
            kind.count * cached_bytes(kind.attention, precision, tensor_parallel_size)
            for kind in self.attention
        )

    def kv_bytes(self, tokens: int, precision: str, tensor_parallel_size: int = 1) -> int:
        """Bytes that a sequence of `tokens` needs cached on one accelerator: windows forget what
        they slid past, and linear attention keeps a state in FP32 instead."""
        total = 0
        for kind in self.attention:
            window, attention = kind.attention.window, kind.attention
            kept = tokens if window is None else min(tokens, window)
            size = cached_bytes(attention, precision, tensor_parallel_size)
            state = attention.state_values // tensor_parallel_size * BYTES["FP32"]
            total += kind.count * (kept * size + state)
        return total

    def divides_into(self, tensor_parallel_size: int) -> bool:
        """Whether heads and MLPs divide evenly over so many accelerators."""
        widths = {
            part.width for layer in self.model.layers for part in (layer.mlp, layer.experts) if part
        }
        return all(width % tensor_parallel_size == 0 for width in widths) and all(
            kind.attention.divides_into(tensor_parallel_size) for kind in self.attention
        )

    @property
    def head_part(self) -> Part:
        """What the output projection is among the weights."""
        return Part.EMBEDDING if self.model.tied else Part.HEAD

    def _int8_on_cpu(self) -> Format:
        read = self.model.compressed
        if read is None:
            return replace(INT8_PANELS, parts=(*INT8_PANELS.parts, self.head_part))
        form = INT8_WIDENED if read.weight_only else INT8_PANELS
        # A head that is tied is the embedding, which checkpoints leave as it was.
        has_head = read.head and not self.model.tied
        return replace(form, parts=(*form.parts, Part.HEAD)) if has_head else form

    def _count(self, *parts: Part) -> int:
        return sum(matrix.parameters for matrix in self.matrices if matrix.part in parts)

    def _bytes(self, precision: str, *parts: Part) -> int:
        return sum(size for matrix, size in self._sized(precision) if matrix.part in parts)

    def _sized(self, precision: str) -> Iterable[tuple[Matrix, int]]:
        if precision in MIXTURES:
            return sized_tensors(self.model, precision)
        known = self.format(precision)
        return ((matrix, known.bytes_of(matrix)) for matrix in self.matrices)


def model_facts(model: Model) -> ModelFacts:
    """The sizes of a model."""
    return ModelFacts(model)
