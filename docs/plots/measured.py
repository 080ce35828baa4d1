"""Writes `docs/measured.md` and draws `docs/measured.svg`: what the planner predicts of our own
engine on a CPU, against what clients measured.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.measured`. What
was measured is in `docs/measured.json`, by `python -m e2e.measured`. Predictions are made here,
with the planner as it is: calibrated on the measured steps, and by its simulation.
"""

import json
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from e2e.measured.calibrated import PRECISION, Calibrated, calibrate_on
from e2e.measured.comparison import Figures, predicted
from e2e.measured.probes import Probed
from e2e.measured.rehearsal import Rehearsed
from e2e.measured.subjects import SUBJECTS, Subject
from e2e.measured.traffic import TRACES, Recorded
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.load_curve import bend
from plimsoll_planner.simulation.trace import at_rate
from plimsoll_planner.text import duration, figure

DOCS = Path(__file__).parents[1]
PAGE, SVG, RESULT = DOCS / "measured.md", DOCS / "measured.svg", DOCS / "measured.json"
TEMPLATE = Path(__file__).with_name("measured.md.template")
FIGURES = {
    "ttft_p50": "TTFT p50",
    "ttft_p95": "TTFT p95",
    "tpot_p50": "TPOT p50",
    "tpot_p95": "TPOT p95",
}
BELOW = 0.8
"""Of the measured knee: loads up to there are below it, all others around it or beyond."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One trace on one model, its lengths divided: requests per second with what was measured and
    what is predicted."""

    model: str
    trace: str
    divisor: int
    loads: tuple[tuple[float, Figures, Figures], ...]

    @property
    def knee(self) -> float | None:
        """As measured, None where the loads that were run have none between them."""
        return bend([(rate, found.e2e) for rate, found, _ in self.loads])

    @property
    def predicted_knee(self) -> float | None:
        """The same of the predictions at these loads."""
        return bend([(rate, found.e2e) for rate, _, found in self.loads])


@dataclass(frozen=True)
class Row:
    """One load."""

    case: Case
    rate: float
    measured: Figures
    predicted: Figures

    @property
    def share(self) -> float:
        """Of the measured knee, or of the predicted one where none was found."""
        return self.rate / (self.case.knee or self.case.predicted_knee or math.nan)

    def error(self, name: str) -> float:
        """Relative, of the prediction."""
        return float(getattr(self.predicted, name) / getattr(self.measured, name)) - 1


def calibrations(result: Result) -> dict[tuple[str, str], Calibrated]:
    """By the names of the model and of the trace."""
    return {
        (model["name"], trace["name"]): _calibrated(model, trace)
        for model in result["models"]
        for trace in model["traces"]
    }


def cases(result: Result, known: dict[tuple[str, str], Calibrated]) -> list[Case]:
    """Every trace on every model."""
    return [
        _case(model, trace, known[model["name"], trace["name"]])
        for model in result["models"]
        for trace in model["traces"]
    ]


def _case(model: Result, trace: Result, known: Calibrated) -> Case:
    arrivals = _arrivals(model, trace, trace["requests"])
    loads = [
        (
            load["rate"],
            Figures(**load["measured"]),
            predicted(known.replica, at_rate(arrivals, load["rate"])),
        )
        for load in trace["loads"]
    ]
    divisor = _recorded(trace).divisor // trace["longer"]
    return Case(model["name"], trace["name"], divisor, tuple(loads))


def _calibrated(model: Result, trace: Result) -> Calibrated:
    rehearsed, facts = Rehearsed.of(trace), _subject(model["name"]).facts
    count = sum(map(len, rehearsed.ttft))
    later = _arrivals(model, trace, count, skip=trace["requests"])
    return calibrate_on(Probed.of(model["probed"]), facts, model["limits"], rehearsed, later)


def _arrivals(model: Result, trace: Result, count: int, skip: int = 0) -> list[Arrival]:
    longest, longer = model["limits"]["max_model_len"], trace["longer"]
    return _recorded(trace).arrivals(count, longest, skip, longer)


def _recorded(trace: Result) -> Recorded:
    (found,) = (each for each in TRACES if each.name == trace["name"])
    return found


def _subject(name: str) -> Subject:
    (found,) = (each for each in SUBJECTS if each.name == name)
    return found


def rows(found: Iterable[Case]) -> list[Row]:
    """All loads."""
    return [Row(case, *load) for case in found for load in case.loads]


def table(found: Iterable[Row]) -> Iterable[str]:
    """Every load: measured, predicted, error."""
    yield "| model | trace | load | of the knee | " + " | ".join(FIGURES.values()) + " |"
    yield "|---|---|---|---|" + "---|" * len(FIGURES)
    for row in found:
        cells = [
            f"{_time(getattr(row.measured, name))} / {_time(getattr(row.predicted, name))} "
            f"({row.error(name):+.0%})"
            for name in FIGURES
        ]
        yield (
            f"| {row.case.model} | {row.case.trace} | {row.rate:.3g}/s | {row.share:.2f} "
            f"| {' | '.join(cells)} |"
        )


def _time(seconds: float) -> str:
    return f"{figure(seconds * 1e3)} ms"


def knees(found: Iterable[Case]) -> Iterable[str]:
    """Where the knee is."""
    yield "| model | trace | lengths divided by | knee measured | predicted | error |"
    yield "|---|---|---|---|---|---|"
    for case in found:
        measured, expected = case.knee, case.predicted_knee
        cells = [f"{figure(each)}/s" if each else "none" for each in (measured, expected)]
        error = f"{expected / measured - 1:+.1%}" if measured and expected else ""
        head = f"| {case.model} | {case.trace} | {case.divisor} "
        yield f"{head}| {' | '.join(cells)} | {error} |"


def errors(found: Sequence[Row]) -> Iterable[str]:
    """Sizes of errors below the knee, and around and beyond it."""
    yield "| loads | figures | median error | largest | within the aim |"
    yield "|---|---|---|---|---|"
    for where, aim, part in (
        ("below the knee", 0.1, [row for row in found if row.share < BELOW]),
        ("around and beyond it", 0.2, [row for row in found if row.share >= BELOW]),
    ):
        sizes = [abs(row.error(name)) for row in part for name in FIGURES]
        if sizes:
            within = sum(size <= aim for size in sizes)
            yield (
                f"| {where} | {len(sizes)} | {statistics.median(sizes):.1%} | {max(sizes):.1%} "
                f"| {within} of {len(sizes)} within {aim:.0%} |"
            )


def fits(known: dict[tuple[str, str], Calibrated]) -> Iterable[str]:
    """What the calibration says."""
    yield (
        "| model | trace | products | reading weights | attention | KV cache | a step | a sequence "
        "| error of steps |"
    )
    yield "|---" * 9 + "|"
    for (model, trace), found in known.items():
        core, fit = found.shape.accelerator, found.fit
        peak, bandwidth = core.flops(PRECISION) / 1e9, core.bandwidth / 1e9
        yield (
            f"| {model} | {trace} | {figure(fit.compute * peak)} GFLOP/s "
            f"| {figure(fit.bandwidth * bandwidth)} GB/s "
            f"| {figure((fit.attention or 0.0) * peak)} GFLOP/s "
            f"| {figure((fit.kv_cache or 0.0) * bandwidth)} GB/s | {_time(found.step.fixed)} "
            f"| {_time(core.sequence_seconds)} | {fit.error:.1%} |"
        )


def frontends(known: dict[tuple[str, str], Calibrated]) -> Iterable[str]:
    """What the calibration says of the frontend; where its work was not measured, the seconds that
    a request spends outside of steps."""
    yield (
        "| model | trace | a request | 100 tokens of its prompt | its end | a step | an event "
        "| a token | latency |"
    )
    yield "|---" * 9 + "|"
    for (model, trace), found in known.items():
        head, time = f"| {model} | {trace} ", found.replica.frontend
        if time is None:
            yield f"{head}| | | | | | | {_time(found.step.per_request)} |"
            continue
        cells = (
            time.request,
            100 * time.prompt_token,
            time.end,
            time.message,
            time.event,
            time.token,
            time.latency,
        )
        yield f"{head}| {' | '.join(map(_time, cells))} |"


def page(result: Result, known: dict[tuple[str, str], Calibrated], found: list[Case]) -> str:
    """The page."""
    machine, every = result["machine"], rows(found)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        machine=(
            f"{machine['cpu']} (family {machine['family']}, {', '.join(machine['extensions'])}), "
            f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
            f"torch {result['versions']['torch']}, Plimsoll {result['versions']['plimsoll']}; "
            f"measured on {result['made']}"
        ),
        errors="\n".join(errors(every)),
        knees="\n".join(knees(found)),
        calibrations="\n".join(fits(known)),
        frontends="\n".join(frontends(known)),
        table="\n".join(table(every)),
    )


SIZE, HIGH, LEFT, TOP, GAP, BETWEEN = 190, 170, 64, 84, 56, 50
TITLE = "Predicted (lines) against measured (dots), our engine on one CPU core"
COLOURS = {"p50": "#56b4e9", "p95": "#0072b2"}
"""As in the plots of `plimsoll simulate`."""
_KNEE = 'stroke="#4d4d4d" stroke-dasharray="4 4"'
_GRID = 'stroke="#e4e4e4"'


def picture(found: Sequence[Case]) -> str:
    """The SVG: a column for each case, TTFT above TPOT."""
    width = LEFT + len(found) * (SIZE + GAP)
    height = TOP + 2 * HIGH + BETWEEN + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="#222222">',
        f"<title>{TITLE}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{TITLE}</text>',
        *_legend(LEFT, 44),
    ]
    for number, case in enumerate(found):
        left = LEFT + number * (SIZE + GAP)
        parts.append(f'<text x="{left}" y="{TOP - 18}" font-weight="bold">{case.model}</text>')
        parts.append(f'<text x="{left}" y="{TOP - 4}">{case.trace}</text>')
        parts += _panel(left, TOP + 4, "ttft", case)
        parts += _panel(left, TOP + HIGH + BETWEEN, "tpot", case)
        x, y = left + SIZE / 2, TOP + 2 * HIGH + BETWEEN + 36
        parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">requests per second</text>')
    for name, top in (("TTFT", TOP + 4), ("TPOT", TOP + HIGH + BETWEEN)):
        parts.append(
            f'<text transform="translate(14 {top + HIGH / 2}) rotate(-90)" text-anchor="middle">'
            f"{name}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(x: float, y: float) -> Iterable[str]:
    for name, colour in COLOURS.items():
        yield f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        yield f'<circle cx="{x + 11}" cy="{y}" r="4" fill="{colour}"/>'
        yield f'<text x="{x + 28}" y="{y + 4}">{name}</text>'
        x += 70
    yield f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" {_KNEE}/>'
    yield f'<text x="{x + 28}" y="{y + 4}">knee, measured</text>'


def _panel(left: float, top: float, kind: str, case: Case) -> Iterable[str]:
    names = [f"{kind}_{each}" for each in COLOURS]
    values = [getattr(of, name) for _, *both in case.loads for of in both for name in names]
    low, high = min(values) / 1.25, max(values) * 1.25
    most = 1.08 * max(rate for rate, *_ in case.loads)

    def x(rate: float) -> float:
        return left + SIZE * rate / most

    def y(seconds: float) -> float:
        return top + HIGH * math.log(high / seconds) / math.log(high / low)

    bottom = top + HIGH
    for mark in _marks(low, high):
        at = f"{y(mark):.1f}"
        yield f'<line x1="{left}" y1="{at}" x2="{left + SIZE}" y2="{at}" {_GRID}/>'
        yield (
            f'<text x="{left - 5}" y="{y(mark) + 4:.1f}" text-anchor="end" font-size="11">'
            f"{duration(mark)}</text>"
        )
    yield f'<line x1="{left}" y1="{bottom}" x2="{left + SIZE}" y2="{bottom}" stroke="#333333"/>'
    if case.knee:
        at = f"{x(case.knee):.1f}"
        yield f'<line x1="{at}" y1="{top}" x2="{at}" y2="{bottom}" {_KNEE}/>'
    for rate, *_ in case.loads:
        yield (
            f'<text x="{x(rate):.1f}" y="{bottom + 15}" text-anchor="middle" font-size="11">'
            f"{rate:.2g}</text>"
        )
    for name, colour in zip(names, COLOURS.values(), strict=True):
        points = " ".join(f"{x(r):.1f},{y(getattr(of, name)):.1f}" for r, _, of in case.loads)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for rate, of, _ in case.loads:
            yield (
                f'<circle cx="{x(rate):.1f}" cy="{y(getattr(of, name)):.1f}" r="4" '
                f'fill="{colour}"/>'
            )


def _marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; only powers where those would be many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 100 else (1,)
    found = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [mark for mark in found if low <= mark <= high]


def main() -> None:
    """Writes both."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    known = calibrations(result)
    found = cases(result, known)
    PAGE.write_text(page(result, known, found), encoding="utf-8")
    SVG.write_text(picture(found), encoding="utf-8")
    for line in (*errors(rows(found)), *knees(found), *table(rows(found))):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
