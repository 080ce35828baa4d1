"""How long one engine step takes: a roofline with a few fitted constants.

`t = t0 + max(compute, memory) + communication`, where a step runs the layers over `tokens` new
tokens of `sequences` sequences, reads `context` tokens of KV cache and computes `pairs` products
of a query with a context token. Roofline: Williams et al., CACM 52(4), 2009; the same as used for
transformers by Pope et al. (arXiv 2211.05102).

The shares of peak below are fitted (least absolute log error, TPOT) on the serving points that
aiconfigurator 0.12.0 publishes: Qwen3-32B and Llama-3.1-70B on H100 under vLLM, Llama-3.1-8B on
H200 under SGLang, tensor parallelism 1 to 8, batches 4 to 512. Of the 172 whose KV cache fits, the
median error is 4%, 9 of 10 are within 13%.
`tests/unit/plimsoll_planner/test_performance_measured.py` holds them to that.
"""

from dataclasses import dataclass

from plimsoll_planner.model_facts import BYTES, ModelFacts
from plimsoll_planner.shape import Shape

COMPUTE_EFFICIENCY = 0.63
"""Share of peak FLOP/s that the matrix products of a step reach together."""
BANDWIDTH_EFFICIENCY = 0.91
"""Share of peak bandwidth at which weights and KV cache are read."""
LINK_EFFICIENCY = 0.69
"""Share of peak link bandwidth that an all-reduce reaches."""
ALL_REDUCE_SECONDS = 1.43e-5
"""Time of an all-reduce of nothing: launch and synchronization."""
CPU_ALL_REDUCE_SECONDS = 2.5e-4
"""The same between processes on shared cores, over loopback: gloo with two ranks on two cores."""
ALL_REDUCES_PER_LAYER = 2


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step, linear in what it does inside each branch of the roofline.

    `per_request` are the seconds that a request spends outside of steps before its first token.
    """

    per_request: float
    fixed: float
    per_sequence: float
    compute_per_token: float
    compute_per_sequence: float
    compute_per_pair: float
    read_fixed: float
    read_per_context: float
    communication_fixed: float
    communication_per_token: float

    def __call__(self, tokens: float, sequences: float, context: float, pairs: float) -> float:
        """Seconds of a step; see the module for the arguments."""
        rest, compute, memory = self.parts(tokens, sequences, context, pairs)
        return rest + (compute if compute > memory else memory)

    def parts(
        self, tokens: float, sequences: float, context: float, pairs: float
    ) -> tuple[float, float, float]:
        """Seconds of a step that come in any case, of its compute and of its reading."""
        return (
            self.fixed
            + self.per_sequence * sequences
            + self.communication_fixed
            + self.communication_per_token * tokens,
            self.compute_per_token * tokens
            + self.compute_per_sequence * sequences
            + self.compute_per_pair * pairs,
            self.read_fixed + self.read_per_context * context,
        )

    def decode(self, sequences: float, context_each: float) -> float:
        """Seconds of a step that gives every one of `sequences` its next token."""
        context = sequences * context_each
        return self(sequences, sequences, context, context)


def step_time(facts: ModelFacts, shape: Shape) -> StepTime:
    """The step times of a model on a replica of this shape.

    More cores compute and read in proportion; a share of a core takes longer in proportion, the
    fixed part included, since the scheduler gives it that share of the time. The ranks of a `cpu`
    replica share its cores: together they compute and read no faster than one. Raises ValueError
    where the accelerator does not compute in the format of the weights.
    """
    accelerator, size = shape.accelerator, shape.tensor_parallel_size
    cores = 1.0 if shape.cpu_cores is None else shape.cpu_cores
    slower = 1.0 / min(1.0, cores)
    apart = size // shape.ranks_in_memory
    compute = accelerator.flops(shape.weights) * COMPUTE_EFFICIENCY * apart * max(1.0, cores)
    bandwidth = accelerator.bandwidth * BANDWIDTH_EFFICIENCY * max(1.0, cores)
    kv_cache = facts.kv_bytes_per_token(shape.kv_cache, size) * shape.ranks_in_memory
    all_reduce = slower * CPU_ALL_REDUCE_SECONDS if shape.is_cpu else ALL_REDUCE_SECONDS
    weights = (facts.linear_parameters + facts.head_parameters) * BYTES[shape.weights]
    all_reduces = ALL_REDUCES_PER_LAYER * facts.layers if size > 1 else 0
    token_bytes = facts.hidden_size * BYTES[shape.weights]
    ring = 2 * (size - 1) / size * token_bytes / (accelerator.link_bandwidth * LINK_EFFICIENCY)
    return StepTime(
        per_request=slower * accelerator.request_seconds,
        fixed=slower * (accelerator.step_seconds + accelerator.layer_seconds * facts.layers),
        per_sequence=slower * accelerator.sequence_seconds,
        compute_per_token=slower * facts.flops_per_token / compute,
        compute_per_sequence=slower * facts.flops_per_logits / compute,
        compute_per_pair=slower * facts.attention_flops_per_pair / compute,
        read_fixed=slower * weights / apart / bandwidth,
        read_per_context=slower * kv_cache / bandwidth,
        communication_fixed=all_reduces * all_reduce,
        communication_per_token=all_reduces * ring,
    )
