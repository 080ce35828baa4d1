"""Writes `docs/day.md` and draws `docs/day.svg`: a day on a real cluster, with kills and edits.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.day RUN.json`,
with what `make e2e-day` has written, which becomes `docs/day.json`; without it, from that.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from e2e.day.attribution import SPREAD_SECONDS
from e2e.day.request import Objectives
from e2e.day.result import Result, read
from plimsoll_operator.drawing.picture import Drawing, Line, Polyline, Shape, Words
from plimsoll_operator.drawing.svg import svg
from plimsoll_planner.text import duration, figure

DOCS = Path(__file__).parents[1]
PAGE, SVG, RESULT = DOCS / "day.md", DOCS / "day.svg", DOCS / "day.json"
TEMPLATE = Path(__file__).with_name("day.md.template")
TITLE = "A recorded day on a real cluster, with kills and edits"
WIDTH, LEFT, RIGHT, TOP, HIGH, GAP = 1000, 64, 150, 64, 130, 44
HOURS = 24
GRID, AXIS, EVENT = "#e4e4e4", "#333333", "#b0b0b0"
COLOURS = {"requests": "#0072b2", "kept": "#009e73", "pods": "#e69f00", "ready": "#0072b2"}
STATIC, PLAN = "#d55e00", "#cc79a7"

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Values over seconds."""

    name: str
    points: Points
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves from 0 to `most`."""

    name: str
    most: float
    ticks: Sequence[tuple[float, str]]
    curves: Sequence[Curve]


def summary(found: Result) -> Iterator[str]:
    """What was asked, and what it took."""
    totals = found.totals
    used = totals.replica_seconds
    yield "| | |"
    yield "|---|---|"
    yield f"| requests | {totals.requests:,} in {figure(found.seconds / 3600)} h |"
    yield f"| kept the objectives | {_share(totals.kept, totals.requests)} |"
    yield f"| failed | {totals.failed}, of which {totals.on_killed_pods} on killed pods |"
    yield f"| TTFT p50, p95 | {_seconds(totals.ttft_p50)}, {_seconds(totals.ttft_p95)} |"
    yield f"| TPOT p50, p95 | {_seconds(totals.tpot_p50)}, {_seconds(totals.tpot_p95)} |"
    yield f"| requests sent late, p99 | {_seconds(totals.lag_p99)} |"
    yield f"| replica seconds | {used:,.0f} |"
    for name, other in (
        ("the plan's count", totals.planned_seconds),
        ("static peak", totals.static_seconds),
    ):
        yield f"| {name} | {other:,.0f} ({_more(other, used)}) |"
    yield f"| pods, restarted containers | {totals.pods}, {totals.restarts} |"


def verdict(found: Result) -> Iterator[str]:
    """What must not be."""
    if not found.wrong:
        yield "Nothing was wrong: no request failed but on killed pods, all was well after each"
        yield "event, and no container was restarted but those that were killed."
        return
    yield "**Wrong:**"
    yield ""
    yield from (f"* {wrong}" for wrong in found.wrong)
    if found.remarks:
        yield ""
        yield "Remarks by whoever ran it:"
        yield ""
        yield from (f"* {remark}" for remark in found.remarks)


def events(found: Result) -> Iterator[str]:
    """By kind."""
    yield "| event | times | left out | no room, and said so | well again after, median | longest |"
    yield "|---|---|---|---|---|---|"
    for kind in sorted({event.kind for event in found.events}):
        of = [event for event in found.events if event.kind == kind]
        took = sorted(event.until - event.at for event in of if not event.left_out)
        median, longest = (took[len(took) // 2], took[-1]) if took else (0.0, 0.0)
        left_out = sum(bool(event.left_out) for event in of)
        told = sum(bool(event.no_room) for event in of)
        yield f"| {kind} | {len(of)} | {left_out} | {told} | {median:.0f} s | {longest:.0f} s |"
    yield ""
    yield "An edit's time has its way back in it, and the time that it stood. *No room*: its plan"
    yield "took more than the node has, the status said so, and the pods of before served on."


def failures(found: Result) -> Iterator[str]:
    """Each one."""
    if not found.failures:
        yield "None."
        return
    yield "| due | ended | what | the killed pod that explains it |"
    yield "|---|---|---|---|"
    for each in found.failures:
        of = each.request
        reason = of.reason.replace("|", "\\|")
        pod = each.pod or "**none**"
        yield f"| {of.due:.1f} s | {of.ended:.1f} s | {of.failure}: {reason} | {pod} |"


def page(found: Result) -> str:
    """The document."""
    setup = found.setup
    objectives: Objectives = setup.objectives
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        hours=figure(setup.hours),
        started=setup.started,
        machine=f"{setup.machine.get('cpu', 'an unknown CPU')}, {setup.machine.get('cores')} cores",
        most=setup.most_replicas,
        compressed=figure(HOURS / setup.hours),
        peak=f"{setup.peak:g}",
        mean=figure(setup.mean),
        seed=setup.seed,
        summary="\n".join(summary(found)),
        verdict="\n".join(verdict(found)),
        ttft=duration(objectives.ttft),
        tpot=duration(objectives.tpot),
        rate=figure(setup.replica_rate),
        events="\n".join(events(found)),
        failures="\n".join(failures(found)),
        spread=f"{SPREAD_SECONDS:g}",
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "none came"


def _seconds(value: float | None) -> str:
    return "none" if value is None else duration(value)


def _more(other: float, used: float) -> str:
    return f"{other / used - 1:+.0%}" if used else "-"


def picture(found: Result) -> Drawing:
    """Three panels over the hours of the day, with the events."""
    panels = list(_panels(found))
    height = TOP + len(panels) * (HIGH + GAP) + 24
    shapes: list[Shape] = [Words(LEFT, 28, TITLE, size=15, bold=True)]
    for number, panel in enumerate(panels):
        shapes += _drawn(panel, TOP + number * (HIGH + GAP), found)
    bottom = TOP + len(panels) * (HIGH + GAP) - GAP
    for hour in range(0, HOURS + 1, 3):
        x = LEFT + (WIDTH - LEFT - RIGHT) * hour / HOURS
        shapes.append(Words(x, bottom + 18, f"{hour}", anchor="middle"))
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    shapes.append(Words(middle, bottom + 38, "hour of the day", anchor="middle"))
    return Drawing(TITLE, WIDTH, height, tuple(shapes))


def _panels(found: Result) -> Iterator[Panel]:
    setup = found.setup
    width = setup.hours * 3600 / 144
    middle = [(each.at + width / 2, each) for each in found.windows]
    rates = [(at, each.requests / width) for at, each in middle]
    most = max([setup.peak, *(rate for _, rate in rates)])
    ticks = [(most * part / 4, figure(most * part / 4)) for part in range(5)]
    yield Panel("Requests per second", most, ticks, [_curve("requests", rates)])
    kept = [(at, each.kept / each.requests) for at, each in middle if each.requests]
    shares = [(part / 4, f"{part / 4:.0%}") for part in range(5)]
    yield Panel("Share that kept the objectives", 1.0, shares, [_curve("kept", kept)])
    count = max([setup.static, setup.planned, *(each.pods for each in found.samples)])
    whole = [0.0, found.seconds]
    yield Panel(
        "Replicas",
        float(count),
        [(float(each), str(each)) for each in range(count + 1)],
        [
            Curve("static peak", [(at, setup.static) for at in whole], STATIC, dashed=True),
            Curve("plan's count", [(at, setup.planned) for at in whole], PLAN, dashed=True),
            _curve("pods", _steps([(each.at, each.pods) for each in found.samples])),
            _curve("ready", _steps([(each.at, each.ready) for each in found.samples])),
        ],
    )


def _curve(name: str, points: Points) -> Curve:
    return Curve(name, points, COLOURS[name])


def _steps(values: Sequence[tuple[float, int]]) -> Points:
    """Corners of a staircase; what does not change is left out."""
    points: Points = []
    for number, (at, value) in enumerate(values):
        is_last = number + 1 == len(values)
        if not points or is_last or value != points[-1][1]:
            points += [(at, points[-1][1])] if points else []
            points.append((at, float(value)))
    return points


def _drawn(panel: Panel, top: float, found: Result) -> Iterable[Shape]:
    seconds, right = found.setup.hours * 3600, WIDTH - RIGHT

    def x(at: float) -> float:
        return LEFT + (right - LEFT) * min(1.0, max(0.0, at / seconds))

    def y(value: float) -> float:
        return top + HIGH * (1 - value / panel.most)

    yield Words(LEFT, top - 10, panel.name, bold=True)
    for value, label in panel.ticks:
        yield Line(LEFT, y(value), right, y(value), GRID)
        yield Words(LEFT - 6, y(value) + 4, label, anchor="end")
    for event in found.events:
        if not event.left_out:
            yield Line(x(event.at), top, x(event.at), top + HIGH, EVENT, dashed=True)
    yield Line(LEFT, top + HIGH, right, top + HIGH, AXIS)
    lowest = top
    for curve in panel.curves:
        if not curve.points:
            continue
        placed = [(x(at), y(value)) for at, value in curve.points]
        if curve.dashed:
            yield Line(*placed[0], *placed[-1], curve.colour, 1.5, dashed=True)
        else:
            yield Polyline(tuple(placed), curve.colour, 1.5)
        yield Words(right + 8, lowest + 12, curve.name, curve.colour)
        lowest += 16


def main(argv: Sequence[str]) -> None:
    """Writes both, and the result where another one is given."""
    found = read(Path(argv[0]) if argv else RESULT)
    if argv:
        RESULT.write_bytes(Path(argv[0]).read_bytes())
    PAGE.write_text(page(found), encoding="utf-8")
    SVG.write_text(svg(picture(found)), encoding="utf-8")
    sys.stdout.write("\n".join([*summary(found), *verdict(found)]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
