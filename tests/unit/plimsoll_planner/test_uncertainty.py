"""Ranges hold what they promise: 8 of 10 of the measurements that they come from."""

from dataclasses import replace

import pytest

from plimsoll_planner.accelerators import find
from plimsoll_planner.uncertainty import FITTED, OTHERS, Range, uncertainty
from tests.unit.plimsoll_planner.measured import points
from tests.unit.plimsoll_planner.published_serving import published


def share_within(ratios: list[float], found: Range) -> float:
    return sum(found.low <= ratio <= found.high for ratio in ratios) / len(ratios)


def test_where_the_constants_were_fitted() -> None:
    known = points()
    tpot = [point.tpot / point.predicted.tpot for point in known]
    assert 0.8 <= share_within(tpot, FITTED.tpot) <= 0.9
    # Not the engine whose streaming takes longer than the GPU; see test_performance_measured.
    of_vllm = [p for p in known if p.row["engine"] == "vllm"]
    ttft = [point.ttft / point.predicted.ttft for point in of_vllm]
    assert 0.75 <= share_within(ttft, FITTED.ttft) <= 0.95


def test_everywhere_else() -> None:
    times = [row.ratio if row.row["metric"] == "tokens/s" else 1 / row.ratio for row in published()]
    first = [
        time
        for time, row in zip(times, published(), strict=True)
        if row.row["metric"] in ("TTFT ms", "first token ms")
    ]
    assert 0.8 <= share_within(times, OTHERS.tpot) <= 0.95
    assert share_within(first, OTHERS.ttft) >= 0.75


def test_a_calibration_brings_its_own_error() -> None:
    h100, l40s = find("H100"), find("L40S")
    assert h100 is not None
    assert l40s is not None
    assert uncertainty(h100) == FITTED
    assert uncertainty(l40s) == OTHERS
    measured = replace(l40s, efficiency=replace(l40s.efficiency, error=0.03))
    found = uncertainty(measured)
    # The fit's own 5.7 % and the formulas' 10 %, which are independent.
    assert found.tpot.high == pytest.approx(1.115, abs=0.001)
    assert "3.0%" in found.basis
    assert OTHERS.tpot.low < found.tpot.low < 1 < found.tpot.high < found.ttft.high
    low, high = found.tpot.of(0.031)
    assert low < 0.031 < high
