"""The traces, on what they are replayed, and as a compressed day."""

import gzip
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

from docs.plots.autoscaling.backtest import Case, thinned
from plimsoll_operator.traces.trace_file import parse_trace
from plimsoll_planner.inputs import AcceleratorPool, Objectives, PlanRequest
from plimsoll_planner.models.reader import read_model
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.planned import replica_model
from plimsoll_planner.simulation.trace import workload_of

DATA = Path(__file__).parents[3] / "tests" / "data"
MODEL = DATA / "models" / "meta-llama--Meta-Llama-3.1-8B.json"
HALF_HOUR = 1800.0
DAY = 4 * HALF_HOUR
"""A day as long as the shortest that replicas of two minutes' start-up can follow: 12 times as fast
as a real one, so that its slopes are 12 times as steep."""
NIGHT = 0.15
"""Share of the day's most traffic that comes at its least."""
MAX_REPLICAS = 48
OVER_A_DAY = ", a day"


@dataclass(frozen=True)
class Setup:
    """A trace, the accelerator and what is promised."""

    trace: str
    accelerator: str
    ttft: float
    tpot: float
    context: int


SETUPS = (
    Setup("azure_conv_2023", "NVIDIA-L4", 2.0, 0.12, 16384),
    Setup("azure_code_2023", "NVIDIA-L40S", 2.0, 0.10, 16384),
    Setup("mooncake_conversation", "NVIDIA-H100-80GB-HBM3", 8.0, 0.06, 131072),
    Setup("servegen_tenants_bursty", "NVIDIA-L4", 1.0, 0.12, 32768),
)


@dataclass(frozen=True)
class Planned:
    """A case, and the plan that it runs by."""

    name: str
    case: Case
    plan: Plan


def recorded(setup: Setup) -> tuple[Arrival, ...]:
    """The half hour as it was recorded, prompts cut to the context."""
    file = DATA / "traces" / f"{setup.trace}.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        requests = parse_trace(io.StringIO(lines.read()), setup.trace).requests
    return tuple(arrival.within(setup.context) for arrival in requests)


def day(trace: tuple[Arrival, ...]) -> tuple[Arrival, ...]:
    """A compressed day: the half hour over and over, twice at a time, thinned to a daily curve.

    The second copy is half its length behind. Traffic rises as a cosine from NIGHT to all and back.
    """
    copies = []
    for turn in range(round(DAY / HALF_HOUR)):
        for shift in (0.0, HALF_HOUR / 2):
            copies += [
                each._replace(at=turn * HALF_HOUR + (each.at + shift) % HALF_HOUR) for each in trace
            ]
    copies.sort(key=lambda each: each.at)
    return tuple(
        thinned(
            copies, lambda at: NIGHT + (1 - NIGHT) * (1 - math.cos(math.tau * at / DAY)) / 2, "day"
        )
    )


def planned(setup: Setup, trace: tuple[Arrival, ...], name: str, seconds: float) -> Planned:
    """Plans for the trace's own figures, as its LLMDeployment would declare them."""
    model = read_model(json.loads(MODEL.read_text(encoding="utf-8")))
    objectives = Objectives(setup.ttft, setup.tpot)
    request = PlanRequest(
        model,
        workload_of(trace),
        objectives,
        (AcceleratorPool(setup.accelerator, 8, 16),),
        max_context_length=setup.context,
        max_replicas=MAX_REPLICAS,
        max_accelerators_per_replica=1,
        best_effort=True,
    )
    found = plan(request).plan
    if found is None:
        raise ValueError(f"{name} has no plan")
    gpus = found.tensor_parallel_size * found.pipeline_parallel_size
    case = Case(
        trace, replica_model(found, model), objectives, gpus, found.replicas, MAX_REPLICAS, seconds
    )
    return Planned(name, case, found)


def case_names() -> list[str]:
    """All that `case` knows, in order."""
    return [f"{setup.trace}{kind}" for setup in SETUPS for kind in ("", OVER_A_DAY)]


def case(name: str) -> Planned:
    """A trace as recorded, or as a day. Raises StopIteration for another name."""
    setup = next(each for each in SETUPS if each.trace == name.removesuffix(OVER_A_DAY))
    trace = recorded(setup)
    if name == setup.trace:
        return planned(setup, trace, name, HALF_HOUR)
    return planned(setup, day(trace), name, DAY)
