"""Others' laws as they are published, on figures computed by hand."""

import pytest

from docs.plots.autoscaling.law import ReplicaView, View
from docs.plots.autoscaling.peers import KPA, Behavior, KubeAI, QueueDepthHPA, SLOAware
from plimsoll_operator.scaling.measurement import Counters
from plimsoll_operator.traces.metrics_snapshot import Histogram

NONE = Counters(Histogram(), Histogram(), Histogram(), Histogram(), 0.0)


def view(
    now: float, asked: int, loads: list[tuple[int, int]], ttft: float = 0.0, tpot: float = 0.0
) -> View:
    """`loads` are (running, waiting) of each ready replica."""
    ready = tuple(
        ReplicaView(str(index), running, waiting, 0.0, lambda: NONE)
        for index, (running, waiting) in enumerate(loads)
    )
    return View(now, asked, ready, [(now, ttft)] * 10, [(now, tpot)] * 10)


def test_hpa_by_the_ratio_outside_of_the_tolerance() -> None:
    law = QueueDepthHPA(5, Behavior())
    assert law.desired(view(0, 2, [(9, 5), (9, 5)])) == 2
    assert QueueDepthHPA(5, Behavior()).desired(view(0, 2, [(9, 9), (9, 8)])) == 4
    # 17 waiting over 3, of which one has no metrics yet: 17 / 3 / 5 = 1.13.
    assert QueueDepthHPA(5, Behavior()).desired(view(0, 3, [(9, 9), (9, 8)])) == 4
    assert QueueDepthHPA(5, Behavior()).desired(view(0, 3, [(9, 6), (9, 6)])) == 3


def test_hpa_goes_up_at_most_doubled_or_by_four_and_down_after_the_window() -> None:
    law = QueueDepthHPA(1, Behavior())
    assert law.desired(view(0, 1, [(9, 90)])) == 5
    assert law.desired(view(15, 10, [(9, 90)] * 10)) == 20
    down = QueueDepthHPA(1, Behavior())
    counts = [
        down.desired(view(15.0 * tick, 4, [(0, 2 if tick == 0 else 0)] * 4)) for tick in range(23)
    ]
    assert counts[1:21] == [4] * 20
    assert counts[-1] == 1


def test_kpa_averages_and_panics() -> None:
    law = KPA(10)
    assert law.desired(view(0, 3, [(10, 0)] * 3)) == 3
    for tick in range(1, 30):
        found = law.desired(view(2.0 * tick, 3, [(10, 0)] * 3))
    assert found == 3
    # 3 samples in 6 s: (30 + 30 + 200) / 3 / 10 = 9 replicas, at least twice the 3 that are ready.
    assert law.desired(view(60, 3, [(100, 100), (0, 0), (0, 0)])) == 9
    # Panic never shrinks, and lasts a stable window.
    for tick in range(31, 60):
        assert law.desired(view(2.0 * tick, 9, [(0, 0)] * 9)) >= 9
    assert law.desired(view(130, 9, [(0, 0)] * 9)) == 4, "at most halved"


def test_kubeai_averages_and_goes_down_after_some_lows() -> None:
    law = KubeAI(10, window=20, delay=30)
    assert law.desired(view(0, 1, [(20, 10)])) == 3
    counts = [law.desired(view(10.0 * tick, 3, [(5, 0)])) for tick in range(1, 5)]
    assert counts == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("ttft", "asked", "ready", "expected"),
    [(0.5, 4, 4, 4), (1.1, 4, 4, 8), (0.2, 4, 4, 2), (1.1, 8, 4, 8), (9.9, 4, 4, 8)],
)
def test_llmd_by_latency_over_promise(ttft: float, asked: int, ready: int, expected: int) -> None:
    # Up: 4 + ceil(4 · (1.1 / 0.55 - 1)) = 8; half ready: 8 + ceil(8 · (0.55 / 0.55 - 1)) = 8;
    # down: 4 - floor(4 · (1 - 0.2 / 0.4)) = 2, one at a time.
    law = SLOAware(1.0, 0.1)
    law._behavior.up_window = law._behavior.down_window = 0
    found = law.desired(view(0, asked, [(1, 0)] * ready, ttft))
    assert found == (expected if expected >= asked else asked - 1)
