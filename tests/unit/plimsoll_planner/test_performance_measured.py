"""The performance model against published measurements; see the head of the data file."""

import csv
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.latency import Engine, full_batch_tpot
from plimsoll_planner.memory import block_bytes, usable_bytes, without_kv_cache
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance import StepTime, step_time
from plimsoll_planner.shape import Shape
from plimsoll_planner.traffic import Traffic
from tests.unit.plimsoll_planner import models

DATA = Path(__file__).parents[2] / "data" / "serving_measured.csv"
CONFIGS = {
    "Qwen3-32B": models.QWEN3_32B,
    "Llama-3.1-70B": models.LLAMA_31_70B,
    "Llama-3.1-8B-Instruct": models.LLAMA_31_8B,
}
BUDGET = 8192
"""Token budget of both engines on these GPUs, unless told otherwise."""


@dataclass(frozen=True)
class Point:
    """A row, and what the model says of it."""

    row: dict[str, str]
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        return abs(self.predicted / self.measured - 1)


def points() -> list[Point]:
    lines = [line for line in DATA.read_text().splitlines() if not line.startswith("#")]
    found = []
    for row in csv.DictReader(lines):
        predicted = _predict(row)
        if predicted is not None:
            found.append(Point(row, float(row["tpot_ms"]) / 1e3, predicted))
    return found


def _predict(row: dict[str, str]) -> float | None:
    """TPOT of a closed loop of `batch` clients; None where their KV cache does not fit."""
    gpu = find(row["system"].removesuffix("_sxm"))
    assert gpu is not None
    facts, size = model_facts(CONFIGS[row["model"]]), int(row["tp"])
    shape = Shape(gpu, gpu.name, "BF16", "BF16", size)
    batch, prompt, output = (int(row[k]) for k in ("batch", "prompt_tokens", "output_tokens"))
    step, weights = step_time(facts, shape), without_kv_cache(facts, shape, BUDGET, batch)
    total = weights.total
    if row["precision"] == "fp8":
        step = _fp8(step, facts.linear_parameters, facts.head_parameters)
        total -= weights.weights // 2
    tokens = (usable_bytes(shape, gpu.memory_bytes) - total) // block_bytes(facts, shape) * 16
    if batch * (prompt + output) > tokens:
        return None
    lengths = Workload(1.0, Lengths(prompt, prompt), Lengths(output, output))
    return full_batch_tpot(Engine(step, batch, BUDGET), Traffic.of(lengths, 10**6), batch)


def _fp8(step: StepTime, layers: int, head: int) -> StepTime:
    """The layers' products at twice the rate from half the bytes; head, cache, attention BF16."""
    return replace(
        step,
        compute_per_token=step.compute_per_token / 2,
        read_fixed=step.read_fixed * (layers / 2 + head) / (layers + head),
    )


@pytest.mark.parametrize(
    ("model", "precision", "count", "median", "p90"),
    [
        ("Qwen3-32B", "bf16", 80, 0.06, 0.13),
        ("Llama-3.1-70B", "fp8", 40, 0.06, 0.14),
        ("Llama-3.1-8B-Instruct", "fp8", 45, 0.09, 0.19),
    ],
)
def test_error_of_tpot(model: str, precision: str, count: int, median: float, p90: float) -> None:
    errors = sorted(
        p.error for p in points() if (p.row["model"], p.row["precision"]) == (model, precision)
    )
    assert len(errors) >= count
    assert statistics.median(errors) <= median
    assert errors[int(0.9 * len(errors))] <= p90


def test_error_of_tpot_over_all() -> None:
    errors = sorted(p.error for p in points())
    assert statistics.median(errors) <= 0.05
    assert errors[int(0.9 * len(errors))] <= 0.15
