"""How long one engine step takes: a roofline over a step's kernels with a few constants.

Roofline: Williams et al., CACM 52(4), 2009; the same for transformers by Pope et al. (arXiv
2211.05102). `StepTime` has the formula; here are its coefficients.

The constants below are physical and the same for every model and GPU. They are fitted together
(soft absolute log error of TPOT, held to the kernels' own efficiencies) on the 184 serving points
that aiconfigurator 0.12.0 publishes: Qwen3-32B and Llama-3.1-70B on H100 under vLLM, Llama-3.1-8B
on H200 under SGLang, tensor parallelism 1 to 8, batches 4 to 512. What they give for a model, a
system and 186 published figures that they were not fitted on is in docs/predictions.md. What an
engine adds to a step, a layer and a sequence are seconds of `Accelerator`.

Where a kernel is seen alone (aiconfigurator-core's tables of measured kernels for A100, L40S, H100,
H200, B200; Apache-2.0) it agrees within some 10 %: matrix products 0.60 (L40S) to 0.83 (A100) of
peak, reading weights 0.77 (A100, L40S) to 0.87, decode attention 0.82 to 0.86, prefill attention
0.45 to 0.56.
`tests/unit/plimsoll_planner/test_performance_measured.py` holds the model to what it reaches.

A calibrated accelerator's own figures go before these; on `cpu` its figures are all fitted.
"""

import math
from dataclasses import replace

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.model_facts import INT8, ModelFacts, cached_bytes
from plimsoll_planner.performance.communication import (
    ALL_REDUCE_SECONDS,
    CPU_ALL_REDUCE_SECONDS,
    all_reduce,
    all_to_all,
    hop,
)
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.search.shape import Shape

COMPUTE_EFFICIENCY = 0.72
"""Share of peak FLOP/s of large matrix products, in any precision that is computed natively."""
FP4_EFFICIENCY = 0.6
"""The same in FP4, whose blocks' scales are applied on the way: measured, 0.45 to 0.6."""
ATTENTION_EFFICIENCY = 0.54
"""Share of peak BF16 FLOP/s of prefill attention."""
EXPERT_EFFICIENCY = 0.3
"""Share of peak FLOP/s of the experts' products, in groups of unequal size: measured, 0.2 to 0.35
under routing as skewed as real one."""
BANDWIDTH_EFFICIENCY = 0.91
"""Share of peak bandwidth at which weights and activations are read."""
KV_CACHE_EFFICIENCY = 0.87
"""The same for the KV cache, which is read in blocks."""
CPU_COMPUTE_EFFICIENCY = 0.8
CPU_BANDWIDTH_EFFICIENCY = 0.91
CPU_ATTENTION_EFFICIENCY = 0.4
CPU_KV_CACHE_EFFICIENCY = 0.48
"""On `cpu`: matrix products with what is between them, reading weights, attention of prompts, and
reading the KV cache. Measured: our engine, as said at CPU_CORE."""
CPU_SOCKET_BANDWIDTH = 204.8e9
"""Bytes/s that all cores of a replica read at most: eight channels of DDR4-3200, as a
socket of Ice Lake has. Those with DDR5 have more; a calibration with many cores says how much."""
EXPERT_LAYER_SECONDS = 3e-5
"""Routing, sorting and gathering tokens of one layer of experts: measured, 25 to 65 µs with their
products' launches, against some 10 of a dense MLP's."""
EXPERT_IMBALANCE = 1.25
"""How much longer the busiest rank takes than the mean where each has experts of its own."""
ALL_REDUCES_PER_LAYER = 2
HIDDEN_PASSES = 8
"""Times that a token's residual stream is read or written in a layer: two norms with their
additions, each in, out, residual in, residual out."""
HEADS_PASSES = 4
"""The same for its queries, keys and values: projection out, positions in and out, attention in."""
MLP_PASSES = 3
"""The same for its MLP's columns: gate and up in, product out."""
_UNQUANTIZED = "FP16"
"""What the head and attention are computed in beside quantized weights: FP16 or BF16."""
_UNQUANTIZED_ON_CPU = "BF16"
"""What attention is computed in beside INT8 weights on `cpu`, and all that is not INT8 itself."""
_COMPUTED_IN: dict[str, tuple[str, ...]] = {
    "FP16": ("FP16", "BF16"),
    "FP8": ("FP8", "BF16", "FP16"),
    "INT8": ("INT8", "BF16", "FP16"),
    "INT4": ("BF16", "FP16"),
    "INT3": ("BF16", "FP16"),
    "INT2": ("BF16", "FP16"),
    "MXFP4": ("BF16", "FP16"),
    "NVFP4": ("FP4", "BF16", "FP16"),
}
"""Formats that weights are multiplied in: the first that the accelerator has; weights of a format
that it lacks are widened on the way."""


def step_time(facts: ModelFacts, shape: Shape) -> StepTime:
    """The step times of a model on a replica of this shape.

    Pipeline stages work on equal parts of the batch at the same time. Until every sequence has its
    token, all stages together compute and read the KV cache, as under tensor parallelism; but each
    part reads all weights, is scheduled and handed over, and waits for the last stage's head. With
    expert parallelism each rank holds whole experts and tokens travel to them and back.

    On `cpu` more cores compute in proportion, and read so up to CPU_SOCKET_BANDWIDTH; a share of a
    core takes longer in proportion, the fixed part included. Its ranks share the cores: together
    they compute and read no faster than one. Raises ValueError where the accelerator does not
    compute in the format of the weights.
    """
    return _on_cpu(facts, shape) if shape.is_cpu else _on_gpu(facts, shape)


def computes(accelerator: Accelerator, weights: str) -> bool:
    """Whether it can multiply with weights of such a format, widened on the way if need be."""
    forms = _COMPUTED_IN.get(weights, (weights,))
    return any(accelerator.peaks.of(form) is not None for form in forms)


def cpu_products(facts: ModelFacts, shape: Shape) -> tuple[str, str]:
    """In which formats layers and output head are multiplied on `cpu`. INT8 numbers that are
    widened, and what is left unquantized, are in BF16."""
    form = facts.format(shape.stored)
    plain = _UNQUANTIZED_ON_CPU if shape.weights == INT8 else shape.weights
    layers = plain if form.widened else shape.weights
    return layers, layers if facts.head_part in form.parts else plain


def product_flops(accelerator: Accelerator, weights: str) -> float:
    """FLOP/s that large products with such weights reach. Raises ValueError where it computes in
    no format that they can be multiplied in."""
    measured = accelerator.efficiency.compute
    relative = 1.0 if measured is None else measured / COMPUTE_EFFICIENCY
    for form in _COMPUTED_IN.get(weights, ()):
        peak = accelerator.peaks.of(form)
        if peak is not None:
            share = FP4_EFFICIENCY if form == "FP4" else COMPUTE_EFFICIENCY
            return peak * share * relative
    return accelerator.flops(weights) * COMPUTE_EFFICIENCY * relative


def _on_gpu(facts: ModelFacts, shape: Shape) -> StepTime:
    gpu, size, stages = shape.accelerator, shape.tensor_parallel_size, shape.pipeline_parallel_size
    form = facts.format(shape.weights)
    dense = product_flops(gpu, shape.weights) * size
    plain = product_flops(gpu, "FP32" if shape.weights == "FP32" else _UNQUANTIZED) * size
    attention = plain * ATTENTION_EFFICIENCY / COMPUTE_EFFICIENCY
    experts = dense * EXPERT_EFFICIENCY / COMPUTE_EFFICIENCY
    bandwidth = gpu.bandwidth * (gpu.efficiency.bandwidth or BANDWIDTH_EFFICIENCY)
    kv_bandwidth = bandwidth * KV_CACHE_EFFICIENCY / BANDWIDTH_EFFICIENCY
    width = form.activation_bytes
    heads = (facts.attention_heads + 2 * facts.kv_heads) * facts.head_dim
    passes = float(HIDDEN_PASSES * facts.hidden_size)
    passes += (HEADS_PASSES * heads + MLP_PASSES * facts.intermediate_size) / size
    context, pair, window, window_context, window_pair = _attention(
        facts, shape, kv_bandwidth * stages, attention * stages
    )
    communication = _communication(facts, shape, facts.hidden_size * width)
    expert_layers = sum(layers for _, layers in facts.experts)
    imbalance = EXPERT_IMBALANCE if shape.expert_parallel and size > 1 else 1.0
    return StepTime(
        per_request=gpu.request_seconds,
        fixed=stages * gpu.step_seconds
        + gpu.layer_seconds * facts.layers
        + EXPERT_LAYER_SECONDS * expert_layers
        + communication[0],
        per_sequence=gpu.sequence_seconds,
        per_token=facts.layers * passes * width / bandwidth / stages + communication[1],
        compute_per_token=2 * facts.linear_parameters / dense / stages,
        read_fixed=facts.linear_bytes(shape.weights) / size / bandwidth,
        compute_per_sequence=facts.flops_per_logits / plain,
        head_read=stages * facts.head_bytes(shape.weights) / size / bandwidth,
        per_context=context,
        per_pair=pair,
        expert_compute_per_token=imbalance * 2 * facts.active_expert_parameters / experts / stages,
        expert_read=imbalance * facts.expert_bytes(shape.weights) / size / bandwidth,
        expert_log_miss=_log_miss(facts) / stages,
        window=window,
        per_window_context=window_context,
        per_window_pair=window_pair,
        frontend=_frontend(gpu),
    )


def _attention(
    facts: ModelFacts, shape: Shape, bandwidth: float, flops: float
) -> tuple[float, float, float, float, float]:
    """Seconds by context token and by further pair, the window, and the same within it.

    Decode over a latent computes more than it reads on some accelerators: the longer counts.
    """
    full = [0.0, 0.0]
    windowed = [0.0, 0.0]
    window = math.inf
    for kind in facts.attention:
        one = kind.attention
        cached = cached_bytes(one, shape.kv_cache, shape.tensor_parallel_size)
        read = kind.count * max(cached / bandwidth, one.decode_flops_per_pair / flops)
        pair = kind.count * one.flops_per_pair / flops
        into = full if one.window is None else windowed
        window = window if one.window is None else min(window, float(one.window))
        into[0] += read
        into[1] += pair
    return full[0], full[1], window, windowed[0], windowed[1]


def _communication(facts: ModelFacts, shape: Shape, token_bytes: int) -> tuple[float, float]:
    """Seconds of a step's collectives in any case, and by token.

    Two all-reduces a layer under tensor parallelism; with expert parallelism a layer of experts
    has tokens sent to their experts and back instead of the second one.
    """
    size, stages = shape.tensor_parallel_size, shape.pipeline_parallel_size
    reduce = all_reduce(shape.accelerator, size)
    reduces, fixed, per_token = ALL_REDUCES_PER_LAYER * facts.layers, 0.0, 0.0
    if shape.expert_parallel and size > 1:
        exchange = all_to_all(shape.accelerator, size)
        for experts, layers in facts.experts:
            copies = min(experts.per_token, size)
            reduces -= layers
            fixed += 2 * layers * exchange.fixed
            per_token += 2 * layers * exchange.per_byte * token_bytes * copies / size
    fixed += reduces * reduce.fixed
    per_token += reduces * reduce.per_byte * token_bytes
    if stages > 1:
        between = hop()
        fixed += stages * between.fixed
        per_token += (stages - 1) * between.per_byte * token_bytes
    return fixed, per_token / stages


def _log_miss(facts: ModelFacts) -> float:
    """Logarithm of the probability that a token needs none of a given expert; 0 if dense."""
    if not facts.experts:
        return 0.0
    experts, _ = max(facts.experts, key=lambda found: found[1])
    if experts.per_token >= experts.count:
        return -math.inf
    return math.log1p(-experts.per_token / experts.count)


def _on_cpu(facts: ModelFacts, shape: Shape) -> StepTime:
    core, size = shape.accelerator, shape.tensor_parallel_size
    cores = 1.0 if shape.cpu_cores is None else shape.cpu_cores
    slower, faster = 1.0 / min(1.0, cores), max(1.0, cores)
    share = core.efficiency.compute or CPU_COMPUTE_EFFICIENCY
    compute, head = (core.flops(name) * faster * share for name in cpu_products(facts, shape))
    memory = min(core.bandwidth * faster, CPU_SOCKET_BANDWIDTH)
    bandwidth = memory * (core.efficiency.bandwidth or CPU_BANDWIDTH_EFFICIENCY)
    attention = core.flops(_UNQUANTIZED_ON_CPU if shape.weights == INT8 else shape.weights) * faster
    attention *= core.efficiency.attention or CPU_ATTENTION_EFFICIENCY
    kv_bandwidth = memory * (core.efficiency.kv_cache or CPU_KV_CACHE_EFFICIENCY)
    kv_cache = facts.kv_bytes_per_token(shape.kv_cache, size) * shape.ranks_in_memory
    read = slower * facts.linear_bytes(shape.stored) + slower * facts.expert_bytes(shape.stored)
    reduce = all_reduce(core, size)
    latency = slower * CPU_ALL_REDUCE_SECONDS / ALL_REDUCE_SECONDS
    reduces = ALL_REDUCES_PER_LAYER * facts.layers
    token_bytes = facts.hidden_size * facts.format(shape.stored).activation_bytes
    return StepTime(
        per_request=slower * core.request_seconds,
        fixed=slower * (core.step_seconds + core.layer_seconds * facts.layers)
        + reduces * reduce.fixed * latency,
        per_sequence=slower * core.sequence_seconds,
        per_token=reduces * reduce.per_byte * token_bytes,
        compute_per_token=slower * facts.flops_per_token / compute,
        read_fixed=read / bandwidth,
        compute_per_sequence=slower * facts.flops_per_logits / head,
        head_read=slower * facts.head_bytes(shape.stored) / bandwidth,
        per_context=slower * kv_cache / kv_bandwidth,
        per_pair=slower * facts.attention_flops_per_pair / attention,
        frontend=_frontend(core, slower),
    )


def _frontend(accelerator: Accelerator, slower: float = 1.0) -> FrontendTime | None:
    """What was measured of it, on a share of a core `slower`. What nobody works on was not: a
    request that comes alone waits no less than it is assumed to without any measurement."""
    if accelerator.frontend is None:
        return None
    work = accelerator.frontend.scaled(slower)
    waits = slower * accelerator.request_seconds - work.before_first_token(0.0)
    return replace(work, latency=work.latency + max(0.0, waits))
