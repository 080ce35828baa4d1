"""What others publish of serving on GPUs, and what the performance model says of the same."""

import math
from dataclasses import dataclass

from plimsoll_planner.accelerators import find
from plimsoll_planner.closed_loop import closed_loop
from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.latency import Engine
from plimsoll_planner.memory import BLOCK_SIZE, block_bytes, usable_bytes, without_kv_cache
from plimsoll_planner.performance import step_time
from plimsoll_planner.shape import Shape
from plimsoll_planner.traffic import Traffic
from tests.unit.plimsoll_planner.published import facts, rows

CONFIGS = {
    "Llama-2-7B": "meta-llama/Llama-2-7b-hf",
    "Llama-2-13B": "meta-llama/Llama-2-13b-hf",
    "Llama-2-70B": "meta-llama/Llama-2-70b-hf",
    "Llama-3.1-8B": "meta-llama/Meta-Llama-3.1-8B",
    "Llama-3.1-70B": "meta-llama/Meta-Llama-3.1-70B",
    "Llama-3.1-405B": "meta-llama/Meta-Llama-3.1-405B",
    "Qwen3-30B-A3B": "Qwen/Qwen3-30B-A3B",
    "Qwen3-235B-A22B": "Qwen/Qwen3-235B-A22B",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
}
"""The configuration of each model in tests/data/models."""
BUDGET = 8192
MOST_SEQUENCES = 2048
"""What TensorRT-LLM runs at once unless told otherwise."""


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
    return [Published(row, _predict(row)) for row in rows("serving_published.csv")]


def _predict(row: dict[str, str]) -> float:
    gpu = find(row["gpu"])
    assert gpu is not None, row["gpu"]
    known = facts(CONFIGS[row["model"]])
    shape = Shape(
        gpu,
        gpu.name,
        row["weights"],
        row["kv_cache"],
        int(row["tp"]),
        pipeline_parallel_size=int(row["pp"]),
    )
    prompt, output = int(row["prompt_tokens"]), int(row["output_tokens"])
    lengths = Workload(1.0, Lengths(prompt, prompt), Lengths(output, output))
    traffic = Traffic.of(lengths, 10**6)
    if row["kind"] == "batch":
        return _batch(row, Engine(step_time(known, shape), MOST_SEQUENCES, BUDGET))
    sequences = int(row["batch"]) if row["batch"] else MOST_SEQUENCES
    engine = Engine(step_time(known, shape), sequences, BUDGET)
    memory = without_kv_cache(known, shape, BUDGET, sequences)
    room = usable_bytes(shape, gpu.memory_bytes) - memory.total
    tokens = room // block_bytes(known, shape, traffic.context) * BLOCK_SIZE
    if row["kind"] == "full":
        found = closed_loop(engine, traffic, sequences, tokens, rounds=math.inf)
        return found.output_tokens_per_second
    found = closed_loop(engine, traffic, sequences, tokens)
    return 1e3 * {"TPOT ms": found.tpot, "TTFT ms": found.ttft}[row["metric"]]


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
