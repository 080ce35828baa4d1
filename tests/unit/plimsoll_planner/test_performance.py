from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_planner.accelerators import CATALOGUE, Accelerator, find
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance import (
    BANDWIDTH_EFFICIENCY,
    COMPUTE_EFFICIENCY,
    CPU_ALL_REDUCE_SECONDS,
    step_time,
)
from plimsoll_planner.shape import Shape
from tests.unit.plimsoll_planner import models

FACTS = model_facts(models.LLAMA_31_8B)
GPUS = [item for item in CATALOGUE if item.name != "cpu"]


def shape(name: str, size: int = 1, cores: float | None = None) -> Shape:
    accelerator = find(name)
    assert accelerator is not None
    precision = accelerator.precisions[0]
    return Shape(accelerator, name, precision, precision, size, cores)


def test_one_sequence_waits_for_the_weights() -> None:
    step = step_time(FACTS, shape("L4"))
    read = 2 * (FACTS.linear_parameters + FACTS.head_parameters)
    expected = 3.2e-3 + 2.6e-5 + read / (300e9 * BANDWIDTH_EFFICIENCY)
    assert step.decode(1, 0) == pytest.approx(expected)


def test_a_long_prompt_waits_for_compute() -> None:
    step = step_time(FACTS, shape("H200"))
    flops = 4096 * FACTS.flops_per_token + FACTS.flops_per_logits
    flops += FACTS.attention_flops_per_pair * 4096 * 4096 // 2
    expected = 3.2e-3 + 2.6e-5 + flops / (989e12 * COMPUTE_EFFICIENCY)
    assert step(4096, 1, 4096, 4096 * 4096 / 2) == pytest.approx(expected)


def test_tensor_parallelism_shares_work_and_adds_communication() -> None:
    one, two = (step_time(FACTS, shape("H200", size)) for size in (1, 2))
    assert two.read_fixed == pytest.approx(one.read_fixed / 2)
    assert two.compute_per_token == pytest.approx(one.compute_per_token / 2)
    assert one.communication_fixed == one.communication_per_token == 0
    assert two.communication_fixed > 0
    assert two.communication_per_token > 0


def test_kv_cache_is_not_shared_beyond_the_kv_heads() -> None:
    eight, sixteen = (step_time(FACTS, shape("H200", size)) for size in (8, 16))
    assert sixteen.read_per_context == eight.read_per_context


def test_half_a_core_takes_twice_as_long() -> None:
    facts = model_facts(models.TINY)
    half, one = (step_time(facts, shape("cpu", 1, cores)) for cores in (0.5, 1.0))
    assert half.decode(4, 100) == pytest.approx(2 * one.decode(4, 100))


def test_ranks_on_cpu_only_add_communication() -> None:
    facts = model_facts(models.TINY)
    one, two = (step_time(facts, shape("cpu", size, 2.0)) for size in (1, 2))
    assert two.compute_per_token == one.compute_per_token
    assert two.read_fixed == one.read_fixed
    assert two.read_per_context == one.read_per_context
    assert one.communication_fixed == one.communication_per_token == 0
    assert two.communication_fixed == 2 * facts.layers * CPU_ALL_REDUCE_SECONDS
    # More ranks than KV heads hold copies, and read them.
    eight = step_time(facts, shape("cpu", 8, 2.0))
    assert eight.read_per_context == pytest.approx(8 / facts.kv_heads * one.read_per_context)


def test_more_cores_do_not_shorten_the_fixed_part() -> None:
    facts = model_facts(models.TINY)
    one, four = (step_time(facts, shape("cpu", 1, cores)) for cores in (1.0, 4.0))
    assert four.fixed == one.fixed
    assert four.compute_per_token == pytest.approx(one.compute_per_token / 4)


work = st.tuples(st.floats(1, 8192), st.floats(1, 512), st.floats(1, 1e6), st.floats(1, 1e8))


@given(st.sampled_from(GPUS), work, st.floats(1.0, 4.0))
def test_a_better_accelerator_is_never_slower(
    gpu: Accelerator, step: tuple[float, float, float, float], factor: float
) -> None:
    precision = gpu.precisions[0]
    base = Shape(gpu, gpu.name, precision, precision, 2)
    plain = step_time(FACTS, base)(*step)
    assert gpu.link is not None
    better = (
        replace(gpu, bandwidth=gpu.bandwidth * factor),
        replace(gpu, peaks=gpu.peaks.scaled(factor)),
        replace(gpu, link=replace(gpu.link, bandwidth=gpu.link.bandwidth * factor)),
    )
    for improved in better:
        assert step_time(FACTS, replace(base, accelerator=improved))(*step) <= plain


@given(st.sampled_from(GPUS), work, work)
def test_more_work_never_takes_less_time(
    gpu: Accelerator,
    step: tuple[float, float, float, float],
    more: tuple[float, float, float, float],
) -> None:
    precision = gpu.precisions[0]
    time = step_time(FACTS, Shape(gpu, gpu.name, precision, precision))
    added = [a + b for a, b in zip(step, more, strict=True)]
    assert time(*added) >= time(*step)
