"""Where the memory of one accelerator goes.

`KV cache = memory × utilisation - weights / ranks - activations at the token budget - reserve`, as
vLLM's and KAITO's estimators do; the reserve of a GPU holds captured graphs, communication buffers
and workspaces, and that of any rank the states of linear attention. On `cpu` the sum, of all ranks,
is what the pod requests.
"""

import math
from dataclasses import dataclass, replace

from plimsoll_planner.model_facts import BYTES, ModelFacts, cached_bytes
from plimsoll_planner.search.shape import Shape
from plimsoll_runtime.core.cuda_graphs import graph_bytes

BLOCK_SIZE = 16
"""Tokens in a block of KV cache; budgets are rounded to whole blocks."""
GPU_UTILISATION = 0.9
"""Share of a GPU's memory that the engine claims, as its --gpu-memory-utilization; the rest is for
the driver, other contexts and fragmentation."""
GPU_RESERVE_BYTES = 3 * 2**28
"""Workspaces of matrix products and attention, and what the allocator cannot use."""
COMMUNICATION_BYTES = 3 * 2**27
"""Buffers of the collectives of one rank among several: NCCL's take 340 to 390 MiB on 2 to 8 GPUs
(aiconfigurator's system files)."""
CPU_RESERVE_BYTES = 3 * 2**29
"""Python, PyTorch's libraries, tokenizer and the HTTP server of one engine process."""
LOGITS_COPIES = 3
"""FP32 copies of the logits that sampling holds at once: raw, scaled, sorted."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one rank: on one accelerator, or on `cpu`.

    `kv_cache_tokens` is what the replica's KV cache holds.
    """

    weights: int
    activations: int
    reserve: int
    kv_cache: int
    kv_cache_tokens: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.activations + self.reserve + self.kv_cache


def usable_bytes(shape: Shape, memory_bytes: int) -> int:
    """What a rank may use of `memory_bytes` (of a GPU, or free on a node for `cpu`)."""
    if shape.is_cpu:
        return memory_bytes // shape.ranks_in_memory
    return int(memory_bytes * GPU_UTILISATION)


def activation_bytes(facts: ModelFacts, shape: Shape, tokens: int, sequences: int) -> int:
    """Peak of what a step of `tokens` new tokens and `sequences` sampled ones holds at once.

    Residual stream, its norm and the block's input and output (4 × hidden), the three MLP
    intermediates, queries, keys and values; and the logits.
    """
    size = shape.tensor_parallel_size
    heads = facts.attention_heads / size + 2 * max(1.0, facts.kv_heads / size)
    width = 4 * facts.hidden_size + 3 * facts.intermediate_size / size + heads * facts.head_dim
    logits = sequences * facts.vocab_size * BYTES["FP32"] * LOGITS_COPIES
    return int(tokens * width * facts.format(shape.stored).activation_bytes) + logits


def reserve_bytes(facts: ModelFacts, shape: Shape) -> int:
    """What a rank needs besides weights, activations and KV cache."""
    if shape.is_cpu:
        return CPU_RESERVE_BYTES
    stages = shape.pipeline_parallel_size
    graphs = graph_bytes(-(-facts.layers // stages))
    alone = shape.tensor_parallel_size * stages == 1
    return GPU_RESERVE_BYTES + graphs + (0 if alone else COMMUNICATION_BYTES)


def state_bytes(facts: ModelFacts, shape: Shape, sequences: int) -> int:
    """What linear attention keeps of so many sequences on a rank, however long they are."""
    size, stages = shape.tensor_parallel_size, shape.pipeline_parallel_size
    each = sum(kind.count * -(-kind.attention.state_values // size) for kind in facts.attention)
    return -(-sequences * each * BYTES["FP32"] // stages)


def without_kv_cache(facts: ModelFacts, shape: Shape, tokens: int, sequences: int) -> MemoryPlan:
    """The memory of a replica with a token budget of `tokens` before any KV cache."""
    weights = facts.weights_bytes(shape.stored, shape.tensor_parallel_size)
    return MemoryPlan(
        weights=-(-weights // shape.pipeline_parallel_size),
        activations=activation_bytes(facts, shape, tokens, sequences),
        reserve=reserve_bytes(facts, shape) + state_bytes(facts, shape, sequences),
        kv_cache=0,
        kv_cache_tokens=0,
    )


def with_reserves(
    memory: MemoryPlan, label: str, reserves: tuple[tuple[str, int], ...]
) -> MemoryPlan:
    """`memory` with what is to be kept free on the product `label`, as `PlanRequest.reserves`."""
    more = sum(size for name, size in reserves if name == label)
    return replace(memory, reserve=memory.reserve + more)


def block_bytes(facts: ModelFacts, shape: Shape, context: float = 0.0) -> int:
    """Bytes of one block of KV cache on one accelerator, on average over sequences of `context`
    tokens: layers with a window keep a block more than that of each, if it is longer.

    For the mean context of several sequences it is not less than what they take together, since
    what a window keeps is concave in the length (Jensen).
    """
    token = 0
    for kind in facts.attention:
        cached = cached_bytes(kind.attention, shape.kv_cache, shape.tensor_parallel_size)
        window = kind.attention.window
        if window is not None and context > window + BLOCK_SIZE:
            cached = math.ceil(cached * (window + BLOCK_SIZE) / context)
        token += kind.count * cached
    return -(-BLOCK_SIZE * token // shape.pipeline_parallel_size)


def with_kv_cache(memory: MemoryPlan, bytes_of_block: int, blocks: int) -> MemoryPlan:
    """`memory` with `blocks` blocks of KV cache."""
    return replace(memory, kv_cache=blocks * bytes_of_block, kv_cache_tokens=blocks * BLOCK_SIZE)
