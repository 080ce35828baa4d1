"""Latency against load as an SVG, written by hand: pictures need no library in the operator."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from plimsoll_operator.planning.simulation_report import Simulated
from plimsoll_planner.simulation.load_curve import LoadCurve
from plimsoll_planner.simulation.summary import Percentiles
from plimsoll_planner.text import duration, figure

WIDTH, HEIGHT = 980, 430
PANEL_WIDTH, PANEL_HEIGHT = 370, 270
TOP, LEFT, GAP = 92, 70, 118
MEDIAN, TAIL, PROMISE, KNEE, LOAD = "#56b4e9", "#0072b2", "#d55e00", "#4d4d4d", "#009e73"
"""Colours that people with any colour vision tell apart (Okabe and Ito)."""
_HALO = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"'
_CEILING = 8.0
"""How far above the promise, or above the least p95, the axis goes: beyond, queues only grow."""


_Found = tuple[tuple[float, Percentiles], ...]


@dataclass(frozen=True)
class _Panel:
    """What one is drawn from: figures by rising load, and what is promised of their p95."""

    name: str
    found: _Found
    promised: float | None


@dataclass(frozen=True)
class _Axes:
    """A panel: loads from 0 to `most` to the right, seconds on a logarithmic axis upwards."""

    left: float
    most: float
    low: float
    high: float

    def x(self, rate: float) -> float:
        return self.left + PANEL_WIDTH * rate / self.most

    def y(self, seconds: float) -> float:
        share = math.log(seconds / self.low) / math.log(self.high / self.low)
        return TOP + PANEL_HEIGHT * (1 - share)


def latency_plot(simulated: Simulated, curve: LoadCurve) -> str:
    """TTFT and TPOT, p50 and p95 with its 95 % confidence interval, against the load.

    Dashed are what is promised, the knee and the declared load.
    """
    objectives, title = simulated.experiment.objectives, _title(simulated)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#222222">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 28, title, ' font-size="15" font-weight="bold"'),
        _text(LEFT, 47, _findings(curve), ' fill="#555555"'),
    ]
    ttft = [(point.rate, point.summary.ttft) for point in curve.points]
    tpot = [(point.rate, point.summary.tpot) for point in curve.points]
    for number, panel in enumerate(
        (
            _Panel("Time to first token", _known(ttft), objectives.ttft_p95),
            _Panel("Time per output token", _known(tpot), objectives.tpot_p95),
        )
    ):
        if len(panel.found) > 1:
            axes = _axes(LEFT + number * (PANEL_WIDTH + GAP), panel)
            parts += _marks(axes, curve, simulated.rate)
            parts += _panel(axes, panel)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _title(simulated: Simulated) -> str:
    replicas = simulated.experiment.replicas
    count = f"{replicas} replica" + ("" if replicas == 1 else "s")
    return escape(f"{simulated.name}: latency against load, {count}")


def _findings(curve: LoadCurve) -> str:
    knee = "" if curve.knee is None else f"knee at {figure(curve.knee)}, "
    return (
        f"{knee}promises kept up to {figure(curve.sustained)}, "
        f"saturated at {figure(curve.capacity)} requests/s"
    )


def _known(found: Iterable[tuple[float, Percentiles | None]]) -> _Found:
    return tuple((rate, figures) for rate, figures in found if figures is not None)


def _panel(axes: _Axes, panel: _Panel) -> Iterator[str]:
    left, found, promised = axes.left, panel.found, panel.promised
    right, bottom = left + PANEL_WIDTH, TOP + PANEL_HEIGHT
    clip = f"panel{left:.0f}"
    yield (
        f'<clipPath id="{clip}"><rect x="{left}" y="{TOP}" width="{PANEL_WIDTH}" '
        f'height="{PANEL_HEIGHT}"/></clipPath>'
    )
    yield _text(left, TOP - 14, panel.name, ' font-weight="bold"')
    for seconds in _ticks(axes.low, axes.high):
        y = axes.y(seconds)
        yield _line(left, y, right, y, 'stroke="#e4e4e4"')
        yield _text(left - 6, y + 4, duration(seconds), ' text-anchor="end"')
    yield _line(left, bottom, right, bottom, 'stroke="#333333"')
    for rate in _steps(axes.most):
        yield _line(axes.x(rate), bottom, axes.x(rate), bottom + 5, 'stroke="#333333"')
        yield _text(axes.x(rate), bottom + 19, figure(rate), ' text-anchor="middle"')
    yield _text((left + right) / 2, bottom + 38, "requests per second", ' text-anchor="middle"')
    yield f'<g clip-path="url(#{clip})">'
    yield _band(axes, found)
    tail = [(rate, figures.p95) for rate, figures in found]
    median = [(rate, figures.p50) for rate, figures in found]
    yield _curve(axes, median, MEDIAN)
    yield _curve(axes, tail, TAIL)
    yield "</g>"
    yield from _labels(axes, (("p95", tail, TAIL), ("p50", median, MEDIAN)))
    if promised is not None:
        y = axes.y(promised)
        yield _line(left, y, right, y, f'stroke="{PROMISE}" stroke-width="1.5"')
        words = f"promised p95 {duration(promised)}"
        yield _text(left + 4, y - 5, words, f' fill="{PROMISE}"{_HALO}')


def _axes(left: float, panel: _Panel) -> _Axes:
    found, promised = panel.found, panel.promised
    least = min(figures.p50 for _, figures in found)
    calm = min(figures.p95 for _, figures in found)
    tallest = max(figures.p95 for _, figures in found)
    high = min(1.2 * tallest, _CEILING * calm)
    if promised is not None:
        high = max(high, 1.5 * promised)
        least = min(least, promised)
    return _Axes(left, max(rate for rate, _ in found), 0.5 * least, high)


def _marks(axes: _Axes, curve: LoadCurve, declared: float) -> Iterator[str]:
    bottom, height = TOP + PANEL_HEIGHT, 0
    for rate, name, colour in (
        (curve.knee, "knee", KNEE),
        (declared, "declared load", LOAD),
    ):
        if rate is not None and rate <= axes.most:
            x = axes.x(rate)
            yield _line(x, TOP, x, bottom, f'stroke="{colour}" stroke-dasharray="4 4"')
            side = ("end", -4) if x > axes.left + PANEL_WIDTH / 2 else ("start", 4)
            y = bottom - 8 - height
            yield _text(x + side[1], y, name, f' fill="{colour}" text-anchor="{side[0]}"{_HALO}')
            height += 16


def _band(axes: _Axes, found: _Found) -> str:
    known = [(rate, each.p95, each.p95_error) for rate, each in found]
    above = [(rate, p95 + (error or 0.0)) for rate, p95, error in known]
    below = [(rate, max(p95 - (error or 0.0), axes.low)) for rate, p95, error in known]
    return (
        f'<polygon points="{_points(axes, [*above, *reversed(below)])}" fill="{TAIL}" '
        'fill-opacity="0.15"/>'
    )


def _curve(axes: _Axes, points: Sequence[tuple[float, float]], colour: str) -> str:
    return (
        f'<polyline points="{_points(axes, points)}" fill="none" stroke="{colour}" '
        'stroke-width="2" stroke-linejoin="round"/>'
    )


def _points(axes: _Axes, points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{axes.x(rate):.1f},{axes.y(seconds):.1f}" for rate, seconds in points)


def _labels(
    axes: _Axes, curves: Sequence[tuple[str, Sequence[tuple[float, float]], str]]
) -> Iterator[str]:
    """The curves' names where they leave the panel, at its right or at its top."""
    lowest, leftmost = float(TOP), axes.left
    for name, points, colour in curves:
        seconds = points[-1][1]
        if seconds <= axes.high:
            y = max(axes.y(seconds) + 4, lowest + 14)
            yield _text(axes.left + PANEL_WIDTH + 6, y, name, f' fill="{colour}"')
            lowest = y
            continue
        x = max(axes.x(_leaves(points, axes.high)), leftmost)
        yield _text(x, TOP - 4, name, f' fill="{colour}" text-anchor="middle"')
        leftmost = x + 28


def _leaves(points: Sequence[tuple[float, float]], high: float) -> float:
    """The load at which a curve that ends above `high` rises beyond it."""
    below = [point for point in points if point[1] <= high]
    if not below:
        return points[0][0]
    (rate, seconds), (after, above) = below[-1], points[points.index(below[-1]) + 1]
    return rate + (after - rate) * math.log(high / seconds) / math.log(above / seconds)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two times; without 2 and 5 where that is many."""
    factors: tuple[int, ...] = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    return [mark for mark in marks if low <= mark <= high]


def _steps(most: float) -> list[float]:
    """Four to ten round loads from 0 on."""
    unit = 10.0 ** math.floor(math.log10(most))
    size = next(unit * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if most / (unit * part) <= 8)
    return [size * number for number in range(math.floor(most / size + 1e-9) + 1)]


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{words}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, more: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'
