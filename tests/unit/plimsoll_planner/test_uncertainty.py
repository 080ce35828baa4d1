"""Ranges hold what they promise: 8 of 10 of the measurements that they come from."""

from dataclasses import replace

import pytest

from plimsoll_planner.accelerators import find
from plimsoll_planner.uncertainty import PUBLISHED, Range, uncertainty
from tests.unit.plimsoll_planner.published_serving import published


def share_within(ratios: list[float], found: Range) -> float:
    return sum(found.low <= ratio <= found.high for ratio in ratios) / len(ratios)


def on(*gpus: str) -> tuple[list[float], list[float]]:
    """Measured over predicted times, and of these the times to first tokens."""
    rows = [row for row in published() if not gpus or row.row["gpu"].startswith(gpus)]
    times = [row.ratio if row.row["metric"] == "tokens/s" else 1 / row.ratio for row in rows]
    first = [
        time
        for time, row in zip(times, rows, strict=True)
        if row.row["metric"] in ("TTFT ms", "first token ms")
    ]
    return times, first


def test_of_published_figures() -> None:
    times, first = on()
    assert 0.8 <= share_within(times, PUBLISHED.tpot) <= 0.95
    assert share_within(first, PUBLISHED.ttft) >= 0.75


def test_where_the_constants_were_fitted_it_is_no_narrower() -> None:
    times, first = on("H100", "H200")
    assert len(times) >= 60
    assert 0.75 <= share_within(times, PUBLISHED.tpot) <= 0.9
    assert share_within(first, PUBLISHED.ttft) >= 0.75


def test_a_calibration_brings_its_own_error() -> None:
    h100, l40s = find("H100"), find("L40S")
    assert h100 is not None
    assert l40s is not None
    assert uncertainty(h100) == uncertainty(l40s) == PUBLISHED
    measured = replace(l40s, efficiency=replace(l40s.efficiency, error=0.03))
    found = uncertainty(measured)
    # The fit's own 5.7 % and the formulas' 10 %, which are independent.
    assert found.tpot.high == pytest.approx(1.115, abs=0.001)
    assert "3.0%" in found.basis
    assert PUBLISHED.tpot.low < found.tpot.low < 1 < found.tpot.high < found.ttft.high
    low, high = found.tpot.of(0.031)
    assert low < 0.031 < high
