"""The shapes that replicas on a product may have."""

from collections.abc import Iterator
from dataclasses import replace

from plimsoll_planner.accelerators import CPU
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.model_facts import ModelFacts
from plimsoll_planner.precision import Precision
from plimsoll_planner.search.products import Product
from plimsoll_planner.search.shape import Shape

CPU_CORES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def shapes(
    request: PlanRequest, facts: ModelFacts, product: Product, formats: Precision
) -> Iterator[Shape]:
    """Within one node, or over as many as are pinned."""
    pin = request.pin
    stages = pin.pipeline_parallel_size or 1
    if product.accelerator.name == CPU:
        if stages == 1:
            yield from _on_cpu(request, facts, product, formats)
        return
    if stages > min(product.nodes, facts.layers):
        return
    for size in _sizes(request, facts, product, stages):
        yield from _on_gpu(facts, product, formats, size, stages)


def staged_shapes(
    request: PlanRequest, facts: ModelFacts, product: Product, formats: Precision
) -> Iterator[Shape]:
    """Over ever more nodes, as many accelerators of each as possible: for models that one node
    does not hold. None where the pipeline is pinned."""
    if product.accelerator.name == CPU or request.pin.pipeline_parallel_size is not None:
        return
    size = max(_sizes(request, facts, product, 1), default=0)
    if not size:
        return
    most = min(product.nodes, facts.layers, request.max_accelerators_per_replica // size)
    for stages in range(2, most + 1):
        yield from _on_gpu(facts, product, formats, size, stages)


def why_none(request: PlanRequest, facts: ModelFacts, product: Product) -> str:
    """Why `shapes` has none, with the way out."""
    size = request.pin.tensor_parallel_size or 1
    stages = request.pin.pipeline_parallel_size or 1
    label, most = product.label, request.max_accelerators_per_replica
    tensor, pipeline = f"pin.tensorParallelSize {size}", f"pin.pipelineParallelSize {stages}"
    reasons = (
        (
            not facts.divides_into(size),
            f"{tensor} does not divide {facts.attention_heads} attention heads, {facts.kv_heads} "
            f"KV heads and {facts.intermediate_size} MLP columns",
        ),
        (
            stages > 1 and product.accelerator.name == CPU,
            f"{pipeline}: a replica on cpu has one stage: pin 1",
        ),
        (stages > facts.layers, f"{pipeline}: the model has {facts.layers} layers"),
        (
            stages > product.nodes,
            f"{pipeline}: each stage has a node of its own, and {product.nodes} have {label}",
        ),
        (
            size > product.most_per_replica < product.most_per_node,
            f"{tensor}: {label} is a part of a GPU, which cannot work together with others: pin 1",
        ),
        (
            size > product.most_per_node,
            f"{tensor}: a node with {label} has at most {product.most_per_node}",
        ),
    )
    return next(
        (text for holds, text in reasons if holds),
        f"{tensor} and {pipeline} take more than accelerators.maxPerReplica {most}",
    )


def _sizes(request: PlanRequest, facts: ModelFacts, product: Product, stages: int) -> Iterator[int]:
    pinned = request.pin.tensor_parallel_size
    most = min(product.most_per_replica, request.max_accelerators_per_replica // stages)
    for size in range(1, most + 1):
        if pinned in (None, size) and facts.divides_into(size):
            yield size


def _on_gpu(
    facts: ModelFacts, product: Product, formats: Precision, size: int, stages: int
) -> Iterator[Shape]:
    plain = Shape(
        product.accelerator,
        product.label,
        formats.weights,
        formats.kv_cache,
        size,
        pipeline_parallel_size=stages,
    )
    yield plain
    if size > 1 and facts.experts and all(one.count % size == 0 for one, _ in facts.experts):
        yield replace(plain, expert_parallel=True)


def _on_cpu(
    request: PlanRequest, facts: ModelFacts, product: Product, formats: Precision
) -> Iterator[Shape]:
    """Ranks on the same cores gain nothing, so that only a pin makes them."""
    most = min(product.most_per_replica, request.max_accelerators_per_replica)
    size = request.pin.tensor_parallel_size or 1
    if facts.divides_into(size):
        for cores in CPU_CORES:
            if cores <= most:
                yield Shape(
                    product.accelerator,
                    product.label,
                    formats.weights,
                    formats.kv_cache,
                    size,
                    cores,
                )
