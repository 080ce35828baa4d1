"""Panels of seconds on a logarithmic axis as SVG, written by hand: pictures need no library."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from plimsoll_planner.text import duration, figure

WIDTH, HEIGHT = 980, 430
PANEL_WIDTH, PANEL_HEIGHT = 370, 270
TOP, LEFT, GAP = 92, 70, 118
COLOURS = ("#0072b2", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442")
"""People with any colour vision tell them apart (Okabe and Ito)."""
PROMISE = "#d55e00"
_HALO = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"'

Points = Sequence[tuple[float, float]]


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


def picture(title: str, findings: str, panels: Sequence[Panel]) -> str:
    """Side by side; panels without two points to connect are left out."""
    name = escape(title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#222222">',
        f"<title>{name}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 28, name, ' font-size="15" font-weight="bold"'),
        _text(LEFT, 47, escape(findings), ' fill="#555555"'),
    ]
    for number, panel in enumerate(panels):
        if any(len(curve.points) > 1 for curve in panel.curves):
            parts += _panel(_axes(LEFT + number * (PANEL_WIDTH + GAP), panel), panel)
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Axes:
    """From 0 to `most` to the right, seconds on a logarithmic axis upwards."""

    left: float
    most: float
    low: float
    high: float

    def x(self, along: float) -> float:
        return self.left + PANEL_WIDTH * along / self.most

    def y(self, seconds: float) -> float:
        share = math.log(seconds / self.low) / math.log(self.high / self.low)
        return TOP + PANEL_HEIGHT * (1 - share)


def _axes(left: float, panel: Panel) -> _Axes:
    low, high = panel.least, panel.most
    if panel.promised is not None:
        high = max(high, 1.5 * panel.promised)
        low = min(low, panel.promised)
    return _Axes(left, max(x for curve in panel.curves for x, _ in curve.points), 0.5 * low, high)


def _panel(axes: _Axes, panel: Panel) -> Iterator[str]:
    left, right, bottom = axes.left, axes.left + PANEL_WIDTH, TOP + PANEL_HEIGHT
    clip = f"panel{left:.0f}"
    yield from _marks(axes, panel.marks)
    yield (
        f'<clipPath id="{clip}"><rect x="{left}" y="{TOP}" width="{PANEL_WIDTH}" '
        f'height="{PANEL_HEIGHT}"/></clipPath>'
    )
    yield _text(left, TOP - 14, escape(panel.name), ' font-weight="bold"')
    for seconds in _ticks(axes.low, axes.high):
        y = axes.y(seconds)
        yield _line(left, y, right, y, 'stroke="#e4e4e4"')
        yield _text(left - 6, y + 4, duration(seconds), ' text-anchor="end"')
    yield _line(left, bottom, right, bottom, 'stroke="#333333"')
    for along in _steps(axes.most):
        yield _line(axes.x(along), bottom, axes.x(along), bottom + 5, 'stroke="#333333"')
        yield _text(axes.x(along), bottom + 19, figure(along), ' text-anchor="middle"')
    yield _text((left + right) / 2, bottom + 38, panel.along, ' text-anchor="middle"')
    yield f'<g clip-path="url(#{clip})">'
    yield from (_band(axes, curve) for curve in panel.curves if curve.errors)
    yield from (_curve(axes, curve) for curve in reversed(panel.curves))
    yield "</g>"
    yield from _labels(axes, panel.curves)
    if panel.promised is not None:
        y = axes.y(panel.promised)
        yield _line(left, y, right, y, f'stroke="{PROMISE}" stroke-width="1.5"')
        words = f"{panel.promise} {duration(panel.promised)}"
        yield _text(left + 4, y - 5, words, f' fill="{PROMISE}"{_HALO}')


def _marks(axes: _Axes, marks: Sequence[Mark]) -> Iterator[str]:
    bottom, height = TOP + PANEL_HEIGHT, 0
    for mark in marks:
        if mark.at <= axes.most:
            x = axes.x(mark.at)
            yield _line(x, TOP, x, bottom, f'stroke="{mark.colour}" stroke-dasharray="4 4"')
            side = ("end", -4) if x > axes.left + PANEL_WIDTH / 2 else ("start", 4)
            more = f' fill="{mark.colour}" text-anchor="{side[0]}"{_HALO}'
            yield _text(x + side[1], bottom - 8 - height, mark.name, more)
            height += 16


def _band(axes: _Axes, curve: Curve) -> str:
    known = [
        (*point, error or 0.0) for point, error in zip(curve.points, curve.errors, strict=True)
    ]
    above = [(x, seconds + error) for x, seconds, error in known]
    below = [(x, max(seconds - error, axes.low)) for x, seconds, error in known]
    return (
        f'<polygon points="{_points(axes, [*above, *reversed(below)])}" fill="{curve.colour}" '
        'fill-opacity="0.15"/>'
    )


def _curve(axes: _Axes, curve: Curve) -> str:
    return (
        f'<polyline points="{_points(axes, curve.points)}" fill="none" stroke="{curve.colour}" '
        'stroke-width="2" stroke-linejoin="round"/>'
    )


def _points(axes: _Axes, points: Points) -> str:
    return " ".join(f"{axes.x(x):.1f},{axes.y(seconds):.1f}" for x, seconds in points)


def _labels(axes: _Axes, curves: Sequence[Curve]) -> Iterator[str]:
    """The curves' names where they leave the panel, at its right or at its top."""
    lowest, leftmost = float(TOP), axes.left
    for curve in curves:
        seconds = curve.points[-1][1]
        if seconds <= axes.high:
            y = max(axes.y(seconds) + 4, lowest + 14)
            yield _text(
                axes.left + PANEL_WIDTH + 6, y, escape(curve.name), f' fill="{curve.colour}"'
            )
            lowest = y
            continue
        x = max(axes.x(_leaves(curve.points, axes.high)), leftmost)
        yield _text(x, TOP - 4, escape(curve.name), f' fill="{curve.colour}" text-anchor="middle"')
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


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{words}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, more: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'
