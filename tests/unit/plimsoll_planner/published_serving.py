"""What others publish of serving on GPUs, and what the performance model says of the same."""

import math
from dataclasses import dataclass

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.models.reader import read_model
from plimsoll_planner.performance.closed_loop import closed_loop
from plimsoll_planner.performance.latency import Engine, latency
from plimsoll_planner.performance.memory import (
    BLOCK_SIZE,
    block_bytes,
    usable_bytes,
    without_kv_cache,
)
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner.published import config, facts, rows

CONFIGS = {
    "Llama-2-7B": "meta-llama/Llama-2-7b-hf",
    "Llama-2-13B": "meta-llama/Llama-2-13b-hf",
    "Llama-2-70B": "meta-llama/Llama-2-70b-hf",
    "Llama-3.1-8B": "meta-llama/Meta-Llama-3.1-8B",
    "Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "Llama-3.1-405B": "meta-llama/Meta-Llama-3.1-405B",
    "Llama-4-Scout": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Qwen3-32B": "Qwen/Qwen3-32B",
    "Qwen3-30B-A3B": "Qwen/Qwen3-30B-A3B",
    "Qwen3-235B-A22B": "Qwen/Qwen3-235B-A22B",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "DeepSeek-R1": "deepseek-ai/DeepSeek-R1",
    "DeepSeek-V3.1": "deepseek-ai/DeepSeek-V3",
}
"""The configuration of each model in tests/data/models."""
QWEN3_14B = {
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
}
"""Where Qwen3-14B differs from Qwen3-8B."""
BUDGET = 8192
MOST_SEQUENCES = 2048
"""What TensorRT-LLM runs at once unless told otherwise."""
TTFT_LIMIT, TPOT_LIMIT = 2.0, 0.2
"""Seconds that MLPerf's server scenario allows for Llama-2-70B."""
_HALVINGS = 30


@dataclass(frozen=True)
class Published:
    """A row with its prediction, in the row's own metric."""

    row: dict[str, str]
    predicted: float

    @property
    def value(self) -> float:
        return float(self.row["value"])

    @property
    def ratio(self) -> float:
        """Predicted over published."""
        return self.predicted / self.value

    @property
    def error(self) -> float:
        """How far off, as a share of the published figure."""
        return self.ratio - 1


def published() -> list[Published]:
    """Every published row."""
    return [Published(row, predicted(row)) for row in rows("serving_published.csv")]


def predicted(row: dict[str, str]) -> float:
    """A row's figure according to the performance model."""
    gpu = find(row["gpu"])
    assert gpu is not None, row["gpu"]
    known = _facts(row["model"])
    shape = Shape(
        gpu,
        gpu.name,
        row["weights"],
        row["kv_cache"],
        int(row["tp"]),
        pipeline_parallel_size=int(row["pp"]),
    )
    lengths = Workload(1.0, _lengths(row, "prompt"), _lengths(row, "output"))
    traffic = Traffic.of(lengths, 10**6)
    if row["kind"] == "batch":
        return _batch(row, Engine(step_time(known, shape), MOST_SEQUENCES, BUDGET))
    sequences = int(row["batch"]) if row["batch"] else MOST_SEQUENCES
    budget = int(row["budget"]) if row["budget"] else BUDGET
    engine = Engine(step_time(known, shape), sequences, budget)
    memory = without_kv_cache(known, shape, budget, sequences)
    room = usable_bytes(shape, gpu.memory_bytes) - memory.total
    tokens = room // block_bytes(known, shape, traffic.context) * BLOCK_SIZE
    if row["kind"] == "full":
        found = closed_loop(engine, traffic, sequences, tokens, rounds=math.inf)
        return found.output_tokens_per_second
    if row["kind"] == "server":
        return _most_rate(engine, traffic, tokens) * traffic.output
    found = closed_loop(engine, traffic, sequences, tokens)
    return 1e3 * {"TPOT ms": found.tpot, "TTFT ms": found.ttft}[row["metric"]]


def _facts(model: str) -> ModelFacts:
    if model == "Qwen3-14B":
        return model_facts(read_model(config("Qwen/Qwen3-8B") | QWEN3_14B))
    return facts(CONFIGS[model])


def _lengths(row: dict[str, str], of: str) -> Lengths:
    """All alike unless the source tells how they are spread."""
    mean = int(row[f"{of}_tokens"])
    return Lengths(mean, int(row[f"{of}_p95"] or mean))


def _most_rate(engine: Engine, traffic: Traffic, tokens: int) -> float:
    """Requests per second that arrive at random and are served within MLPerf's limits."""
    low, high = 0.0, 1e3
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        found = latency(engine, traffic, rate)
        kept = found.ttft_p95 <= TTFT_LIMIT and found.tpot_p95 <= TPOT_LIMIT
        low, high = (rate, high) if kept and found.resident_p95 <= tokens else (low, rate)
    return low


def _batch(row: dict[str, str], engine: Engine) -> float:
    """A batch that starts and ends together: its prompts, then its decode steps."""
    size, prompt, output = (int(row[k]) for k in ("batch", "prompt_tokens", "output_tokens"))
    whole = size * prompt
    steps = max(1, math.ceil(whole / engine.max_num_batched_tokens))
    chunk = whole / steps
    first = steps * engine.step(chunk, size / steps, chunk, chunk * prompt / 2)
    if row["metric"] == "first token ms":
        return first * 1e3
    decode = sum(engine.step.decode(size, prompt + done) for done in range(1, output))
    seconds = first + decode
    return seconds if row["metric"] == "seconds" else size * output / seconds
