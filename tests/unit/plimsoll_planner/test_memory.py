from plimsoll_planner.accelerators import find
from plimsoll_planner.memory import (
    BLOCK_SIZE,
    CPU_RESERVE_BYTES,
    GPU_RESERVE_BYTES,
    activation_bytes,
    block_bytes,
    usable_bytes,
    with_kv_cache,
    without_kv_cache,
)
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.shape import Shape
from tests.unit.plimsoll_planner import models

FACTS = model_facts(models.LLAMA_31_8B)


def gpu(size: int = 1) -> Shape:
    accelerator = find("H200")
    assert accelerator is not None
    return Shape(accelerator, "NVIDIA-H200", "BF16", "BF16", size)


def cpu() -> Shape:
    accelerator = find("cpu")
    assert accelerator is not None
    return Shape(accelerator, "cpu", "FP32", "FP32", 1, 0.5)


def test_a_gpu_keeps_a_tenth_and_a_node_gives_what_is_asked() -> None:
    assert usable_bytes(gpu(), 1000) == 900
    assert usable_bytes(cpu(), 1000) == 1000


def test_parts_sum_up() -> None:
    memory = with_kv_cache(without_kv_cache(FACTS, gpu(), 2048, 64), block_bytes(FACTS, gpu()), 10)
    assert memory.total == memory.weights + memory.activations + memory.reserve + memory.kv_cache
    assert memory.weights == 2 * FACTS.parameters
    assert memory.reserve == GPU_RESERVE_BYTES
    assert memory.kv_cache == 10 * BLOCK_SIZE * 128 * 1024
    assert memory.kv_cache_tokens == 160


def test_weights_are_shared_and_rounded_up() -> None:
    assert without_kv_cache(FACTS, gpu(4), 2048, 64).weights == -(-2 * FACTS.parameters // 4)


def test_activations_grow_with_tokens_and_sequences() -> None:
    least = activation_bytes(FACTS, gpu(), 512, 1)
    assert activation_bytes(FACTS, gpu(), 1024, 1) > least
    assert activation_bytes(FACTS, gpu(), 512, 2) - least == 128256 * 4 * 3
    assert activation_bytes(FACTS, gpu(2), 512, 1) < least


def test_cpu_replicas_have_their_own_reserve() -> None:
    assert without_kv_cache(model_facts(models.TINY), cpu(), 512, 8).reserve == CPU_RESERVE_BYTES
