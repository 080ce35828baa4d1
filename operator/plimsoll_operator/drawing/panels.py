"""Panels of seconds on a logarithmic axis."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plimsoll_operator.drawing.picture import (
    Clipped,
    Drawing,
    Line,
    Points,
    Polygon,
    Polyline,
    Shape,
    Words,
)
from plimsoll_planner.text import duration, figure

WIDTH, HEIGHT = 980, 430
PANEL_WIDTH, PANEL_HEIGHT = 370, 270
TOP, LEFT, GAP = 92, 70, 118
COLOURS = ("#0072b2", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442")
"""People with any colour vision tell them apart (Okabe and Ito)."""
PROMISE = "#d55e00"
_AXIS, _GRID, _QUIET = "#333333", "#e4e4e4", "#555555"


@dataclass(frozen=True)
class Curve:
    """Seconds over something; `errors` are half the widths of their confidence intervals, empty for
    none."""

    name: str
    points: Points
    colour: str
    errors: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A dashed line at a place of the axis to the right."""

    name: str
    at: float
    colour: str


@dataclass(frozen=True)
class Panel:
    """Curves over `along`, from 0 to their largest. What is promised is drawn as a line, with
    `promise` in front of it. The axis ends at `most` seconds."""

    name: str
    along: str
    curves: tuple[Curve, ...]
    least: float
    most: float
    promised: float | None = None
    promise: str = ""
    marks: tuple[Mark, ...] = ()


def picture(title: str, findings: str, panels: Sequence[Panel]) -> Drawing:
    """Side by side; panels without two points to connect are left out."""
    shapes: list[Shape | Clipped] = [
        Words(LEFT, 28, title, size=15, bold=True),
        Words(LEFT, 47, findings, _QUIET),
    ]
    for number, panel in enumerate(panels):
        if any(len(curve.points) > 1 for curve in panel.curves):
            shapes += _panel(_axes(LEFT + number * (PANEL_WIDTH + GAP), panel), panel)
    return Drawing(title, WIDTH, HEIGHT, tuple(shapes))


@dataclass(frozen=True)
class _Axes:
    """From 0 to `most` to the right, seconds on a logarithmic axis upwards."""

    left: int
    most: float
    low: float
    high: float

    def x(self, along: float) -> float:
        return self.left + PANEL_WIDTH * along / self.most

    def y(self, seconds: float) -> float:
        share = math.log(seconds / self.low) / math.log(self.high / self.low)
        return TOP + PANEL_HEIGHT * (1 - share)


def _axes(left: int, panel: Panel) -> _Axes:
    low, high = panel.least, panel.most
    if panel.promised is not None:
        high = max(high, 1.5 * panel.promised)
        low = min(low, panel.promised)
    return _Axes(left, max(x for curve in panel.curves for x, _ in curve.points), 0.5 * low, high)


def _panel(axes: _Axes, panel: Panel) -> Iterator[Shape | Clipped]:
    left, right, bottom = axes.left, axes.left + PANEL_WIDTH, TOP + PANEL_HEIGHT
    yield from _marks(axes, panel.marks)
    yield Words(left, TOP - 14, panel.name, bold=True)
    for seconds in _ticks(axes.low, axes.high):
        y = axes.y(seconds)
        yield Line(left, y, right, y, _GRID)
        yield Words(left - 6, y + 4, duration(seconds), anchor="end")
    yield Line(left, bottom, right, bottom, _AXIS)
    for along in _steps(axes.most):
        yield Line(axes.x(along), bottom, axes.x(along), bottom + 5, _AXIS)
        yield Words(axes.x(along), bottom + 19, figure(along), anchor="middle")
    yield Words((left + right) / 2, bottom + 38, panel.along, anchor="middle")
    bands = (_band(axes, curve) for curve in panel.curves if curve.errors)
    curves = (_curve(axes, curve) for curve in reversed(panel.curves))
    yield Clipped(left, TOP, PANEL_WIDTH, PANEL_HEIGHT, (*bands, *curves))
    yield from _labels(axes, panel.curves)
    if panel.promised is not None:
        y = axes.y(panel.promised)
        yield Line(left, y, right, y, PROMISE, 1.5)
        words = f"{panel.promise} {duration(panel.promised)}"
        yield Words(left + 4, y - 5, words, PROMISE, halo=True)


def _marks(axes: _Axes, marks: Sequence[Mark]) -> Iterator[Shape]:
    bottom, height = TOP + PANEL_HEIGHT, 0
    for mark in marks:
        if mark.at <= axes.most:
            x = axes.x(mark.at)
            yield Line(x, TOP, x, bottom, mark.colour, dashed=True)
            anchor, side = ("end", -4) if x > axes.left + PANEL_WIDTH / 2 else ("start", 4)
            y = bottom - 8 - height
            yield Words(x + side, y, mark.name, mark.colour, anchor=anchor, halo=True)
            height += 16


def _band(axes: _Axes, curve: Curve) -> Polygon:
    known = [
        (*point, error or 0.0) for point, error in zip(curve.points, curve.errors, strict=True)
    ]
    above = [(x, seconds + error) for x, seconds, error in known]
    below = [(x, max(seconds - error, axes.low)) for x, seconds, error in known]
    return Polygon(_points(axes, [*above, *reversed(below)]), curve.colour, 0.15)


def _curve(axes: _Axes, curve: Curve) -> Polyline:
    return Polyline(_points(axes, curve.points), curve.colour)


def _points(axes: _Axes, points: Points) -> tuple[tuple[float, float], ...]:
    return tuple((axes.x(x), axes.y(seconds)) for x, seconds in points)


def _labels(axes: _Axes, curves: Sequence[Curve]) -> Iterator[Words]:
    """The curves' names where they leave the panel, at its right or at its top."""
    lowest, leftmost = float(TOP), float(axes.left)
    for curve in curves:
        seconds = curve.points[-1][1]
        if seconds <= axes.high:
            y = max(axes.y(seconds) + 4, lowest + 14)
            yield Words(axes.left + PANEL_WIDTH + 6, y, curve.name, curve.colour)
            lowest = y
            continue
        x = max(axes.x(_leaves(curve.points, axes.high)), leftmost)
        yield Words(x, TOP - 4, curve.name, curve.colour, anchor="middle")
        leftmost = x + 28


def _leaves(points: Points, high: float) -> float:
    """Where a curve that ends above `high` rises beyond it."""
    below = [point for point in points if point[1] <= high]
    if not below:
        return points[0][0]
    (x, seconds), (after, above) = below[-1], points[points.index(below[-1]) + 1]
    return x + (after - x) * math.log(high / seconds) / math.log(above / seconds)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two times; without 2 and 5 where that is many."""
    factors: tuple[int, ...] = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    return [mark for mark in marks if low <= mark <= high]


def _steps(most: float) -> list[float]:
    """Four to ten round numbers from 0 on."""
    unit = 10.0 ** math.floor(math.log10(most))
    size = next(unit * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if most / (unit * part) <= 8)
    return [size * number for number in range(math.floor(most / size + 1e-9) + 1)]
