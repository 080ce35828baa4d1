import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.closed_loop import closed_loop
from plimsoll_planner.performance.latency import Engine
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models

GPU = find("H100")
assert GPU is not None
FACTS = model_facts(models.LLAMA_31_8B)
ENGINE = Engine(step_time(FACTS, Shape(GPU, GPU.name, "BF16", "BF16")), 512, 8192)
AMPLE = 1e9


def traffic(prompt: int, output: int) -> Traffic:
    return Traffic.of(Workload(1.0, Lengths(prompt, prompt), Lengths(output, output)), 10**6)


def test_one_client_waits_for_nobody() -> None:
    found = closed_loop(ENGINE, traffic(1000, 200), 1, AMPLE, rounds=math.inf)
    step = ENGINE.step
    assert found.running == 1
    assert found.tpot == step.decode(1, 1100)
    assert step.per_request < found.ttft < step.per_request + 2 * ENGINE.mixed(1, 1000, 1100, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4000), st.integers(2, 2000), st.integers(1, 600), st.floats(1e4, 1e7))
def test_littles_law_holds(prompt: int, output: int, clients: int, cache: float) -> None:
    """Clients = rate · (time to first token + the other tokens), without the start of the run."""
    found = closed_loop(ENGINE, traffic(prompt, output), clients, cache, rounds=math.inf)
    life = found.ttft + (output - 1) * found.tpot
    assert found.requests_per_second * life == pytest.approx(clients, rel=1e-6)
    assert found.output_tokens_per_second == found.requests_per_second * output
    assert found.running <= clients


def test_a_cache_that_holds_half_makes_the_others_wait() -> None:
    shape = traffic(1000, 1000)
    ample = closed_loop(ENGINE, shape, 64, AMPLE)
    half = closed_loop(ENGINE, shape, 64, 32 * shape.context)
    assert half.running == 32
    assert half.tpot < ample.tpot
    assert half.ttft > 1000 * half.tpot


def test_prompts_bound_how_many_decode() -> None:
    """A step of 8192 tokens completes at most 4 prompts of 2048, which decode 128 steps each."""
    found = closed_loop(ENGINE, traffic(2048, 128), 2000, AMPLE)
    assert found.running == pytest.approx(8192 * 128 / 2176)
    prompts = (8192 - found.running) / 2048
    assert found.running == pytest.approx(prompts * 128)


def test_fewer_rounds_weigh_the_start_more() -> None:
    shape = traffic(1000, 500)
    firsts = [closed_loop(ENGINE, shape, 64, AMPLE, rounds).ttft for rounds in (1, 5, 10, math.inf)]
    assert firsts == sorted(firsts, reverse=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 4000), st.integers(16, 1000), st.integers(1, 256), st.floats(1, 3))
def test_more_bandwidth_never_serves_less(
    prompt: int, output: int, clients: int, factor: float
) -> None:
    assert GPU is not None
    faster = replace(GPU, bandwidth=GPU.bandwidth * factor)
    step = step_time(FACTS, Shape(faster, faster.name, "BF16", "BF16"))
    plain = closed_loop(ENGINE, traffic(prompt, output), clients, AMPLE)
    better = closed_loop(replace(ENGINE, step=step), traffic(prompt, output), clients, AMPLE)
    assert better.tpot <= plain.tpot * (1 + 1e-12)
    assert better.ttft <= plain.ttft * (1 + 1e-12)
