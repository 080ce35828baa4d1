"""Latency against load, drawn."""

from collections.abc import Sequence

from plimsoll_operator.drawing.panels import COLOURS, Curve, Mark, Panel, picture
from plimsoll_operator.drawing.picture import Drawing
from plimsoll_operator.reports.simulation_report import Simulated
from plimsoll_planner.simulation.load_curve import LoadCurve
from plimsoll_planner.simulation.summary import Percentiles
from plimsoll_planner.text import figure

TAIL, MEDIAN, *_ = COLOURS
KNEE, LOAD = "#4d4d4d", "#009e73"
ALONG = "requests per second"
_CEILING = 8.0
"""How far above the promise, or above the least p95, the axis goes: beyond, queues only grow."""


def latency_plot(simulated: Simulated, curve: LoadCurve) -> Drawing:
    """TTFT and TPOT, p50 and p95 with its 95 % confidence interval, against the load.

    Dashed are what is promised, the knee and the declared load.
    """
    objectives = simulated.experiment.objectives
    marks = tuple(
        Mark(name, rate, colour)
        for name, rate, colour in (
            ("knee", curve.knee, KNEE),
            ("declared load", simulated.rate, LOAD),
        )
        if rate is not None
    )
    ttft = [(point.rate, point.summary.ttft) for point in curve.points]
    tpot = [(point.rate, point.summary.tpot) for point in curve.points]
    panels = (
        percentile_panel("Time to first token", ttft, objectives.ttft_p95, marks),
        percentile_panel("Time per output token", tpot, objectives.tpot_p95, marks),
    )
    return picture(_title(simulated), _findings(curve), panels)


def percentile_panel(
    name: str,
    found: Sequence[tuple[float, Percentiles | None]],
    promised: float | None,
    marks: tuple[Mark, ...],
) -> Panel:
    """p50 and p95 by rising load."""
    known = [(rate, figures) for rate, figures in found if figures is not None]
    tail = [(rate, figures.p95) for rate, figures in known]
    median = [(rate, figures.p50) for rate, figures in known]
    calm = min((p95 for _, p95 in tail), default=1.0)
    return Panel(
        name,
        ALONG,
        (
            Curve("p95", tail, TAIL, tuple(figures.p95_error for _, figures in known)),
            Curve("p50", median, MEDIAN),
        ),
        min((p50 for _, p50 in median), default=1.0),
        min(1.2 * max((p95 for _, p95 in tail), default=1.0), _CEILING * calm),
        promised,
        "promised p95",
        marks,
    )


def _title(simulated: Simulated) -> str:
    replicas = simulated.experiment.replicas
    count = f"{replicas} replica" + ("" if replicas == 1 else "s")
    return f"{simulated.name}: latency against load, {count}"


def _findings(curve: LoadCurve) -> str:
    knee = "" if curve.knee is None else f"knee at {figure(curve.knee)}, "
    return (
        f"{knee}promises kept up to {figure(curve.sustained)}, "
        f"saturated at {figure(curve.capacity)} requests/s"
    )
