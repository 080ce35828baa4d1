"""A result, drawn: latency against load where there was a ramp, else how latencies spread."""

from collections.abc import Sequence
from dataclasses import replace

from plimsoll_bench.figures import Spread
from plimsoll_bench.result import Ramp, Result
from plimsoll_operator.drawing.latency_plot import KNEE, percentile_panel
from plimsoll_operator.drawing.panels import COLOURS, Curve, Mark, Panel, picture
from plimsoll_operator.drawing.picture import Drawing
from plimsoll_planner.simulation.summary import Percentiles
from plimsoll_planner.text import figure

_SHARES = (10, 25, 50, 75, 90, 95, 99)


def plot(result: Result) -> Drawing:
    """TTFT and TPOT."""
    if result.ramp is not None:
        return _against_load(result, result.ramp)
    panels = (
        _spread_panel("Time to first token", "ttft", result, result.objectives.ttft),
        _spread_panel("Time per output token", "tpot", result, result.objectives.tpot),
    )
    return picture(f"{result.label}: {result.model}", "each line is one repetition", panels)


def _against_load(result: Result, ramp: Ramp) -> Drawing:
    marks = () if ramp.knee is None else (Mark("knee", ramp.knee, KNEE),)
    panels = [
        percentile_panel(
            name,
            [
                (run.rate or 0.0, None if found is None else _percentiles(found))
                for run in ramp.runs
                for found in (run.figures.ttft if first else run.figures.tpot,)
            ],
            promised,
            marks,
        )
        for name, first, promised in (
            ("Time to first token", True, result.objectives.ttft),
            ("Time per output token", False, result.objectives.tpot),
        )
    ]
    knee = "no knee" if ramp.knee is None else f"knee at {figure(ramp.knee)} requests/s"
    kept = (
        ""
        if ramp.sustained is None
        else f", objectives kept up to {figure(ramp.sustained)} requests/s"
    )
    return picture(f"{result.label}: latency against load", knee + kept, panels)


def _percentiles(found: Spread) -> Percentiles:
    return Percentiles(found.mean, found.p50, found.p90, found.p95, found.p99, None)


def _spread_panel(name: str, figure_name: str, result: Result, promised: float | None) -> Panel:
    workloads = list(dict.fromkeys(run.workload for run in result.runs))
    curves: list[Curve] = []
    for run in result.runs:
        found: Spread | None = getattr(run.figures, figure_name)
        if found is not None:
            colour = COLOURS[workloads.index(run.workload) % len(COLOURS)]
            points = [(float(each), getattr(found, f"p{each}")) for each in _SHARES]
            curves.append(Curve(run.workload, _above_zero(points), colour))
    curves.sort(key=lambda curve: -curve.points[-1][1])
    named: set[str] = set()
    for index, curve in enumerate(curves):
        if curve.name in named:
            curves[index] = replace(curve, name="")
        named.add(curve.name)
    values = [seconds for curve in curves for _, seconds in curve.points] or [1.0]
    return Panel(
        name,
        "percentile",
        tuple(curves),
        min(values),
        1.2 * max(values),
        promised,
        "objective",
    )


def _above_zero(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """A logarithmic axis has no zero."""
    return [(share, max(seconds, 1e-6)) for share, seconds in points]
