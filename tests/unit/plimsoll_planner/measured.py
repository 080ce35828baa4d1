"""Published measurements, and what the performance model says of the same configurations."""

import statistics
from dataclasses import dataclass

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.closed_loop import ClosedLoop, closed_loop
from plimsoll_planner.performance.latency import Engine
from plimsoll_planner.performance.memory import (
    BLOCK_SIZE,
    block_bytes,
    usable_bytes,
    without_kv_cache,
)
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.published import rows

CONFIGS = {
    "Qwen3-32B": models.QWEN3_32B,
    "Llama-3.1-70B": models.LLAMA_31_70B,
    "Llama-3.1-8B-Instruct": models.LLAMA_31_8B,
}
FACTS = {name: model_facts(config) for name, config in CONFIGS.items()}
BUDGET = 8192
"""Token budget of both engines on these GPUs, unless told otherwise."""
_PROMPTS_ALONE = 10**6


@dataclass(frozen=True)
class Point:
    """A row, and what the model says of it. Seconds."""

    row: dict[str, str]
    predicted: ClosedLoop

    @property
    def tpot(self) -> float:
        return float(self.row["tpot_ms"]) / 1e3

    @property
    def ttft(self) -> float:
        return float(self.row["ttft_ms"]) / 1e3

    @property
    def end_to_end(self) -> float:
        """Of a whole request: its first token and those after it."""
        return self.ttft + self._gaps * self.tpot

    @property
    def predicted_end_to_end(self) -> float:
        return self.predicted.ttft + self._gaps * self.predicted.tpot

    @property
    def end_to_end_error(self) -> float:
        return abs(self.predicted_end_to_end / self.end_to_end - 1)

    @property
    def _gaps(self) -> int:
        return int(self.row["output_tokens"]) - 1

    @property
    def tpot_error(self) -> float:
        return abs(self.predicted.tpot / self.tpot - 1)

    @property
    def ttft_error(self) -> float:
        return abs(self.predicted.ttft / self.ttft - 1)


def points() -> list[Point]:
    """Every measured serving point."""
    return [Point(row, predict(row)) for row in rows("serving_measured.csv")]


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Spearman's: the correlation of the ranks. Equal values are ranked in their order."""
    return statistics.correlation(_ranks(left), _ranks(right))


def _ranks(values: list[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    for rank, index in enumerate(order):
        ranks[index] = float(rank)
    return ranks


def accelerator(row: dict[str, str]) -> Accelerator:
    """The product of a row."""
    gpu = find(row["system"].removesuffix("_sxm"))
    assert gpu is not None
    return gpu


def predict(row: dict[str, str], gpu: Accelerator | None = None) -> ClosedLoop:
    """What the model says of a row, on its accelerator or on the one given."""
    gpu = gpu or accelerator(row)
    facts, size = FACTS[row["model"]], int(row["tp"])
    shape = Shape(gpu, gpu.name, row["precision"].upper(), "BF16", size)
    batch, prompt, output = (int(row[k]) for k in ("batch", "prompt_tokens", "output_tokens"))
    memory = without_kv_cache(facts, shape, BUDGET, batch)
    room = usable_bytes(shape, gpu.memory_bytes) - memory.total
    tokens = room // block_bytes(facts, shape) * BLOCK_SIZE
    lengths = Workload(1.0, Lengths(prompt, prompt), Lengths(output, output))
    engine = Engine(step_time(facts, shape), batch, BUDGET)
    return closed_loop(engine, Traffic.of(lengths, _PROMPTS_ALONE), batch, tokens)
