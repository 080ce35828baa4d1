"""Writes `docs/measured.md` and draws `docs/measured.svg` from `docs/measured.json`: what the
planner predicts of our own engine on a CPU, against what clients measured.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.measured`. The
figures are those of `python -m e2e.measured`; nothing is computed here but errors.
"""

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

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
class Row:
    """One load of one trace on one model; `share` is of the measured knee."""

    model: str
    trace: str
    rate: float
    share: float
    measured: dict[str, float]
    predicted: dict[str, float]

    def error(self, name: str) -> float:
        """Relative, of the prediction."""
        return self.predicted[name] / self.measured[name] - 1


def rows(result: Result) -> list[Row]:
    """All loads."""
    return [
        Row(
            model["name"],
            trace["name"],
            load["rate"],
            load["rate"] / (trace["knee"]["measured"] or math.nan),
            load["measured"],
            load["predicted"],
        )
        for model in result["models"]
        for trace in model["traces"]
        for load in trace["loads"]
    ]


def table(found: Iterable[Row]) -> Iterable[str]:
    """Every load: measured, predicted, error."""
    yield "| model | trace | load | of the knee | " + " | ".join(FIGURES.values()) + " |"
    yield "|---|---|---|---|" + "---|" * len(FIGURES)
    for row in found:
        cells = [
            f"{duration(row.measured[name])} / {duration(row.predicted[name])} "
            f"({row.error(name):+.0%})"
            for name in FIGURES
        ]
        yield (
            f"| {row.model} | {row.trace} | {row.rate:.3g}/s | {row.share:.2f} "
            f"| {' | '.join(cells)} |"
        )


def knees(result: Result) -> Iterable[str]:
    """Where the knee is."""
    yield "| model | trace | knee measured | predicted | error |"
    yield "|---|---|---|---|---|"
    for model in result["models"]:
        for trace in model["traces"]:
            measured, predicted = trace["knee"]["measured"], trace["knee"]["predicted"]
            cells = [f"{each:.3g}/s" if each else "none" for each in (measured, predicted)]
            error = f"{predicted / measured - 1:+.1%}" if measured and predicted else ""
            yield f"| {model['name']} | {trace['name']} | {' | '.join(cells)} | {error} |"


def errors(found: list[Row]) -> Iterable[str]:
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


def calibrations(result: Result) -> Iterable[str]:
    """What was fitted."""
    yield (
        "| model | products | reading weights | attention | KV cache | a step | a sequence "
        "| a request | error of steps |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for model in result["models"]:
        fit, beside = model["calibration"], model["calibration"]["outside"]
        reached = model["reached"]
        yield (
            f"| {model['name']} | {_rate(reached['compute'], 'GFLOP/s')} "
            f"| {_rate(reached['bandwidth'], 'GB/s')} | {_rate(reached['attention'], 'GFLOP/s')} "
            f"| {_rate(reached['kv_cache'], 'GB/s')} | {duration(model['step_seconds'])} "
            f"| {duration(fit['sequence_seconds'] + beside['sequence'])} "
            f"| {duration(beside['request'])} | {fit['error']:.1%} |"
        )


def _rate(value: float | None, unit: str) -> str:
    return f"{figure(value / 1e9)} {unit}" if value else "not told"


def page(result: Result) -> str:
    """The page."""
    found, machine = rows(result), result["machine"]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        machine=(
            f"{machine['cpu']} (family {machine['family']}, {', '.join(machine['extensions'])}), "
            f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
            f"torch {result['versions']['torch']}, Plimsoll {result['versions']['plimsoll']}; "
            f"measured on {result['made']}"
        ),
        errors="\n".join(errors(found)),
        knees="\n".join(knees(result)),
        calibrations="\n".join(calibrations(result)),
        table="\n".join(table(found)),
    )


SIZE, HIGH, LEFT, TOP, GAP, BETWEEN = 190, 170, 64, 84, 56, 50
TITLE = "Predicted (lines) against measured (dots), our engine on one CPU core"
COLOURS = {"p50": "#56b4e9", "p95": "#0072b2"}
"""As in the plots of `plimsoll simulate`."""


def picture(result: Result) -> str:
    """The SVG: a column for each model and trace, TTFT above TPOT."""
    columns = [(model, trace) for model in result["models"] for trace in model["traces"]]
    width = LEFT + len(columns) * (SIZE + GAP)
    height = TOP + 2 * HIGH + BETWEEN + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="#222222">',
        f"<title>{TITLE}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{TITLE}</text>',
        *_legend(LEFT, 44),
    ]
    for number, (model, trace) in enumerate(columns):
        left = LEFT + number * (SIZE + GAP)
        parts.append(f'<text x="{left}" y="{TOP - 18}" font-weight="bold">{model["name"]}</text>')
        parts.append(f'<text x="{left}" y="{TOP - 4}">{trace["name"]}</text>')
        parts += _panel(left, TOP + 4, "ttft", trace)
        parts += _panel(left, TOP + HIGH + BETWEEN, "tpot", trace)
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


_KNEE = 'stroke="#4d4d4d" stroke-dasharray="4 4"'


def _panel(left: float, top: float, kind: str, trace: Result) -> Iterable[str]:
    loads = trace["loads"]
    names = [f"{kind}_{each}" for each in COLOURS]
    values = [
        load[of][name] for load in loads for of in ("measured", "predicted") for name in names
    ]
    low, high = min(values) / 1.25, max(values) * 1.25
    most = 1.08 * max(load["rate"] for load in loads)

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
    knee = trace["knee"]["measured"]
    if knee:
        yield f'<line x1="{x(knee):.1f}" y1="{top}" x2="{x(knee):.1f}" y2="{bottom}" {_KNEE}/>'
    for load in loads:
        place = x(load["rate"])
        yield (
            f'<text x="{place:.1f}" y="{bottom + 15}" text-anchor="middle" font-size="11">'
            f"{load['rate']:.2g}</text>"
        )
    for name, colour in zip(names, COLOURS.values(), strict=True):
        points = " ".join(f"{x(p['rate']):.1f},{y(p['predicted'][name]):.1f}" for p in loads)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for load in loads:
            yield (
                f'<circle cx="{x(load["rate"]):.1f}" cy="{y(load["measured"][name]):.1f}" r="4" '
                f'fill="{colour}"/>'
            )


_GRID = 'stroke="#e4e4e4"'


def _marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; only powers where those would be many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 100 else (1,)
    found = [step * 10.0**exponent for exponent in exponents for step in steps]
    return [mark for mark in found if low <= mark <= high]


def main() -> None:
    """Writes both."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    PAGE.write_text(page(result), encoding="utf-8")
    SVG.write_text(picture(result), encoding="utf-8")


if __name__ == "__main__":
    main()
