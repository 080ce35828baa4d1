"""What the planner says of `cpu`, uncalibrated, against what clients of our engine measured.

Measured by `plimsoll bench` (W1, W2 and W3) at `plimsoll serve --threads 2 --dtype bfloat16
--max-num-seqs 64 --max-num-batched-tokens 1024`, models with random weights, server and client on
the two cores of a virtual AMD EPYC (AVX-512 BF16 and VNNI, no AMX; 43 GB/s), 2026-11-22.
"""

from dataclasses import dataclass, replace

import pytest

from plimsoll_bench.workloads import workload
from plimsoll_planner.accelerators import find
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.reader import read_model
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel, Served
from plimsoll_planner.simulation.simulator import Fleet, simulate
from plimsoll_runtime.core.limits import EngineLimits
from tests.unit.plimsoll_planner import models

QWEN2_05B = read_model(
    {
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
    }
)
LIMITS = EngineLimits(64, 1024, 2048, num_blocks=8192)
NEAR = 0.2
"""What predictions without a calibration are held to."""


@dataclass(frozen=True)
class Measured:
    """Seconds of a single stream (128 tokens in, 128 out); tokens per second of a prompt of 1024,
    and of all answers of 32 requests at once, with prompts of 16 to 512 and answers of 16 to
    256."""

    model: Model
    ttft: float
    tpot: float
    prefill: float
    at_once: float


SERVED = {
    "SmolLM2 135M": Measured(models.SMOLLM2_135M, 0.052, 0.0087, 2254, 557),
    "Qwen2.5 0.5B": Measured(QWEN2_05B, 0.145, 0.0279, 829, 245),
}
DECODE = {(1, 128): 8.243e-3, (8, 256): 12.795e-3, (32, 256): 27.11e-3}
"""Seconds of a decode step of SmolLM2 135M: sequences, tokens of each (docs/benchmarks)."""


def two_cores(weights: str = "BF16") -> Shape:
    core = find("cpu")
    assert core is not None
    return Shape(core, "cpu", weights, "BF16", 1, 2.0)


def step_of(model: Model, weights: str = "BF16") -> StepTime:
    return step_time(model_facts(model), two_cores(weights))


def served(step: StepTime, name: str) -> list[Served]:
    traffic = [
        Arrival(each.at, each.prompt_tokens, each.output_tokens)
        for each in workload(name, 1).requests
    ]
    return list(simulate(Fleet(ReplicaModel(step, LIMITS)), traffic).served)


@pytest.mark.parametrize("name", SERVED)
def test_what_clients_measured_is_predicted(name: str) -> None:
    measured = SERVED[name]
    step = step_of(measured.model)
    (alone,) = served(step, "W1")
    (prompt,) = served(step, "W2")
    together = served(step, "W3")
    tokens = sum(each.arrival.output_tokens for each in together)
    assert alone.ttft == pytest.approx(measured.ttft, rel=NEAR)
    assert alone.tpot == pytest.approx(measured.tpot, rel=NEAR)
    assert prompt.arrival.prompt_tokens / prompt.ttft == pytest.approx(measured.prefill, rel=NEAR)
    assert tokens / max(each.e2e for each in together) == pytest.approx(measured.at_once, rel=NEAR)


@pytest.mark.parametrize(("sequences", "context"), DECODE)
def test_decode_steps_that_were_measured_are_predicted(sequences: int, context: int) -> None:
    found = step_of(models.SMOLLM2_135M).decode(sequences, context)
    assert found == pytest.approx(DECODE[sequences, context], rel=NEAR)


@pytest.mark.parametrize("name", SERVED)
def test_int8_gains_what_its_products_were_measured_to_gain(name: str) -> None:
    """1.65 to 1.9 times less CPU time (decision 027), of which a step is not all."""
    model = SERVED[name].model
    wide, small = step_of(model), step_of(model, "INT8")
    facts: ModelFacts = model_facts(model)
    products = wide.compute_per_token / small.compute_per_token
    assert 1.65 < products < 1.9
    assert facts.linear_bytes("INT8 on cpu") < 0.52 * facts.linear_bytes("BF16")
    assert 1.3 < wide.decode(1, 128) / small.decode(1, 128) < 1.95
    assert wide.fixed == small.fixed
    assert wide.per_context == small.per_context


def test_memory_is_read_no_faster_than_a_socket_does() -> None:
    facts = model_facts(models.LLAMA_31_8B)
    steps = [
        step_time(facts, replace(two_cores(), cpu_cores=cores)) for cores in (2.0, 4.0, 16.0, 64.0)
    ]
    assert steps[0].read_fixed == pytest.approx(2 * steps[1].read_fixed)
    assert steps[2].read_fixed == steps[3].read_fixed < steps[1].read_fixed
    assert steps[2].compute_per_token == pytest.approx(4 * steps[3].compute_per_token)
