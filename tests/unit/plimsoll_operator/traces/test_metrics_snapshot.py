import pytest

from plimsoll_operator.traces.metrics_snapshot import (
    Histogram,
    SnapshotError,
    looks_like_metrics,
    parse_snapshot,
    workload_between,
)
from plimsoll_planner.inputs import Lengths, Workload


def snapshot(requests: int, engine: str = "0", head: str = "# HELP x y\n") -> str:
    """Half of the requests in each of two buckets."""
    lines = [head]
    for name, bounds, total in (
        ("vllm:request_prompt_tokens", (100.0, 200.0), 120 * requests),
        ("vllm:request_generation_tokens", (10.0, 50.0), 20 * requests),
    ):
        labels = f'engine="{engine}",model_name="m"'
        lines.append(f"# TYPE {name} histogram\n")
        counts = (requests // 2, requests, requests)
        for bound, count in zip((*bounds, "+Inf"), counts, strict=True):
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {count}\n')
        lines.append(f"{name}_sum{{{labels}}} {total}\n{name}_count{{{labels}}} {requests}\n")
    lines.append('# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total{engine="0"} 5\n')
    return "".join(lines)


def test_two_snapshots_are_the_traffic_between_them() -> None:
    earlier, later = parse_snapshot(snapshot(100)), parse_snapshot(snapshot(700))
    assert workload_between(earlier, later, 60.0) == Workload(
        10.0, Lengths(120, 190), Lengths(20, 46)
    )


def test_one_snapshot_is_all_since_the_start() -> None:
    assert workload_between(None, parse_snapshot(snapshot(700)), 70.0).requests_per_second == 10.0


def test_engines_are_added_up() -> None:
    both = snapshot(100, "0") + "".join(
        line for line in snapshot(300, "1").splitlines(keepends=True) if not line.startswith("#")
    )
    found = workload_between(None, parse_snapshot(both), 100.0)
    assert found.requests_per_second == 4.0
    assert found.prompt_tokens == Lengths(120, 190)


def test_beyond_the_last_bound_it_is_at_least_that() -> None:
    histogram = Histogram(1000.0, 4.0, {10.0: 1.0, 20.0: 2.0, float("inf"): 4.0})
    assert histogram.quantile(0.25) == 10.0
    assert histogram.quantile(0.5) == 20.0
    assert histogram.quantile(0.95) == 20.0
    assert histogram.quantile(0.125) == 5.0


@pytest.mark.parametrize(
    ("earlier", "later", "seconds", "message"),
    [
        (700, 100, 60.0, "counts fewer requests"),
        (100, 100, 60.0, "no request ended"),
        (100, 700, 0.0, "above 0 s"),
    ],
)
def test_snapshots_that_say_nothing(earlier: int, later: int, seconds: float, message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        workload_between(
            parse_snapshot(snapshot(earlier)), parse_snapshot(snapshot(later)), seconds
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no histogram vllm:request_prompt_tokens"),
        ("# HELP a b\na 1\n", "has no histogram"),
        ("# TYPE a histogram\na{ 1\n", "not in Prometheus' exposition format"),
        (snapshot(2).replace('le="100.0"', 'le="wide"'), "not in Prometheus' exposition format"),
    ],
)
def test_what_is_no_snapshot(text: str, message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        parse_snapshot(text)


def test_snapshots_are_told_from_traces() -> None:
    assert looks_like_metrics(snapshot(2))
    assert not looks_like_metrics('{"t":0}')
    assert not looks_like_metrics("TIMESTAMP,ContextTokens")
