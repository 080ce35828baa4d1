import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest

from plimsoll_planner.inputs import Lengths, Objectives, Workload
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.experiment import Experiment
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, simulate
from plimsoll_planner.simulation.trace import at_rate, mean_rate, shared_prefix, workload_of
from plimsoll_runtime.core.limits import EngineLimits

DATA = Path(__file__).parents[3] / "data" / "mooncake_conversation_head.jsonl.gz"
STEP = StepTime(0.0, 1e-3, 0.0, 1e-6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
TRACE = [Arrival(5.0, 100, 10), Arrival(5.5, 200, 20), Arrival(7.0, 300, 30)]


def mooncake(count: int) -> list[Arrival]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]
    return [
        Arrival(row["t"], row["prompt_tokens"], row["output_tokens"], tuple(row["prefix_ids"]))
        for row in rows
    ]


def test_another_rate_stretches_the_time_and_keeps_the_bursts() -> None:
    assert mean_rate(TRACE) == 1.0
    faster = at_rate(TRACE, 4.0)
    assert [each.at for each in faster] == [0.0, 0.125, 0.5]
    assert [each._replace(at=0) for each in faster] == [each._replace(at=0) for each in TRACE]


@pytest.mark.parametrize("trace", [[], TRACE[:1], [TRACE[0]] * 3])
def test_one_moment_has_no_rate(trace: list[Arrival]) -> None:
    with pytest.raises(ValueError, match="have no rate"):
        mean_rate(trace)


def test_a_workload_has_the_figures_of_a_trace() -> None:
    assert workload_of(TRACE) == Workload(1.0, Lengths(200, 300), Lengths(20, 30))


def test_what_all_prompts_begin_with() -> None:
    trace = [Arrival(float(n), 1200, 1, (0, 1, 2 + n)) for n in range(3)]
    assert shared_prefix(trace) == 1024
    assert shared_prefix([*trace, Arrival(9.0, 700, 1, (0, 1))]) == 700
    assert shared_prefix([*trace, Arrival(9.0, 700, 1)]) == 0


def test_prompts_of_a_recorded_trace_are_equal_where_their_ids_are() -> None:
    trace = mooncake(40)
    for one, other in pairwise(trace):
        first, second = one.prompt(-1), other.prompt(-2)
        ids = zip(one.prefix_ids, other.prefix_ids, strict=False)
        same = next((n for n, (a, b) in enumerate(ids) if a != b), 0) * 512
        assert len(first) == one.prompt_tokens
        assert first[:same] == second[:same]
        assert first[same] != second[same]


def test_a_recorded_trace_finds_in_the_cache_what_came_before() -> None:
    """One by one, with room for everything: whole blocks of 16 of what the ids say is known."""
    trace = [each._replace(at=1e3 * n) for n, each in enumerate(mooncake(60))]
    limits = EngineLimits(1, 16_384, 131_072, num_blocks=80_000)
    found = simulate(Fleet(ReplicaModel(STEP, limits)), trace).served
    seen: set[int] = set()
    for each, served in zip(trace, found, strict=True):
        known = next((n for n, i in enumerate(each.prefix_ids) if i not in seen), 10**9) * 512
        known = min(known, each.prompt_tokens - 1)
        assert served.cached_tokens == known // 16 * 16
        seen.update(each.prefix_ids)
    assert sum(each.cached_tokens for each in found) > 20_000


def test_an_experiment_replays_a_trace_at_any_rate() -> None:
    trace = tuple(Arrival(n + (n % 3) / 4, 100, 10) for n in range(120))
    experiment = Experiment(
        ReplicaModel(STEP, EngineLimits(4, 512, 1024, 64)),
        Objectives(),
        RandomTraffic(Workload(9, Lengths(1, 1), Lengths(1, 1))),
        trace,
    )
    assert experiment.declared_rate == pytest.approx(1.0, rel=0.02)
    found = experiment.at(40.0)
    assert found.requests == 100
    assert found.offered == pytest.approx(40, rel=0.05)
