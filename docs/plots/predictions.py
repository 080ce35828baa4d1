"""Writes `docs/predictions.md` and draws `docs/predictions.svg`: the performance model against what
was measured and published elsewhere.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.predictions`.
The figures to compare with lie in `tests/data`; nothing here is fitted to a row.
"""

import math
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from docs.plots.left_out import saved
from plimsoll_planner.uncertainty import PUBLISHED, Range
from tests.unit.plimsoll_planner.measured import Point, points, rank_correlation
from tests.unit.plimsoll_planner.published_serving import Published, published

DOCS = Path(__file__).parents[1]
PAGE, SVG = DOCS / "predictions.md", DOCS / "predictions.svg"
TEMPLATE = Path(__file__).with_name("predictions.md.template")
AGAIN = "PYTHONPATH=operator:runtime:. python -m docs.plots.predictions"

SIZE, LEFT, TOP, GAP = 330, 56, 64, 72
WIDTH, HEIGHT = LEFT + 2 * SIZE + GAP + 16, TOP + SIZE + 56
TITLE = "Predicted against measured and published; dashed: ±30 %"
COLOURS = ("#0b6e99", "#c8553d", "#5b8c5a", "#8a5a9e", "#b8860b", "#444444", "#2f9e8f", "#c04f86")


def measured_table(found: list[Point]) -> Iterable[str]:
    """Errors by model, and of all."""
    yield (
        "| model | points | TPOT median | p90 | bias | rank | TTFT median | rank "
        "| end to end median | rank |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in [*sorted({point.row["model"] for point in found}), "all"]:
        of = [point for point in found if name in (point.row["model"], "all")]
        tpot = sorted(point.tpot_error for point in of)
        bias = statistics.median(point.predicted.tpot / point.tpot - 1 for point in of)
        ends = [point.end_to_end for point in of]
        yield (
            f"| {name} | {len(of)} | {percent(statistics.median(tpot))} "
            f"| {percent(tpot[int(0.9 * len(tpot))])} | {bias:+.1%} "
            f"| {rank_correlation([p.predicted.tpot for p in of], [p.tpot for p in of]):.2f} "
            f"| {percent(statistics.median(point.ttft_error for point in of))} "
            f"| {rank_correlation([p.predicted.ttft for p in of], [p.ttft for p in of]):.2f} "
            f"| {percent(statistics.median(p.end_to_end_error for p in of))} "
            f"| {rank_correlation([p.predicted_end_to_end for p in of], ends):.2f} |"
        )


def left_out_table() -> Iterable[str]:
    """Errors of models that the constants were not fitted on."""
    yield (
        "| left out | points | TPOT | p90 | rank "
        "| compute | memory | link | step | layer | sequence |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for found in saved():
        shares = " | ".join(f"{value:.2f}" for value in found.constants[:3])
        step, layer, sequence = found.constants[3:]
        yield (
            f"| {found.model} | {found.points} | {percent(found.median)} | {percent(found.p90)} "
            f"| {found.rank:.2f} "
            f"| {shares} | {step * 1e3:.1f} ms | {layer * 1e6:.0f} µs | {sequence * 1e6:.0f} µs |"
        )


def published_summary(found: list[Published]) -> Iterable[str]:
    """Errors by GPU, by model and by engine."""
    yield "| of | rows | median error | within 30 % | bias |"
    yield "|---|---|---|---|---|"
    for field in ("gpu", "model", "engine"):
        for name in sorted({row.row[field] for row in found}):
            yield _summary(name, [row for row in found if row.row[field] == name])
    yield _summary("**all**", found)


def _summary(name: str, of: list[Published]) -> str:
    errors = [abs(row.error) for row in of]
    within = sum(error <= 0.3 for error in errors) / len(errors)
    bias = statistics.median(row.error for row in of)
    median = percent(statistics.median(errors))
    return f"| {name} | {len(of)} | {median} | {within:.0%} | {bias:+.0%} |"


def published_table(found: list[Published]) -> Iterable[str]:
    """Every row."""
    sources = {row.row["source"]: None for row in found}
    numbers = {source: number for number, source in enumerate(sources, start=1)}
    yield "| engine | GPUs | model | weights | in/out | load | of | published | predicted | error |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for item in found:
        row = item.row
        count = int(row["tp"]) * int(row["pp"])
        stages = f" PP{row['pp']}" if row["pp"] != "1" else ""
        load = f"{row['kind']} {row['batch']}".strip()
        yield (
            f"| {row['engine']} [{numbers[row['source']]}] | {count}×{row['gpu']}{stages} "
            f"| {row['model']} | {row['weights']} | {row['prompt_tokens']}/{row['output_tokens']} "
            f"| {load} | {row['metric']} | {figure(item.value)} | {figure(item.predicted)} "
            f"| {item.error:+.0%} |"
        )
    yield ""
    for source, number in numbers.items():
        yield f"{number}. <{source}> ({urlsplit(source).netloc})"


def ranges() -> Iterable[str]:
    """What plans say of their own error."""
    yield "| TPOT | TTFT |"
    yield "|---|---|"
    yield f"| {_range(PUBLISHED.tpot)} | {_range(PUBLISHED.ttft)} |"


def _range(known: Range) -> str:
    return f"{known.low:.2f} to {known.high:.2f}"


def page(measured: list[Point], others: list[Published]) -> str:
    """The document."""
    tables = {
        "measured": measured_table(measured),
        "left_out": left_out_table(),
        "summary": published_summary(others),
        "published": published_table(others),
        "ranges": ranges(),
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8"))
    return text.substitute({name: "\n".join(lines) for name, lines in tables.items()})


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def figure(value: float) -> str:
    """To three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


Dots = list[tuple[str, float, float]]
"""Name of the group, measured, predicted."""


def panel(left: float, title: str, unit: str, dots: Dots) -> Iterable[str]:
    """A scatter plot with logarithmic axes, the diagonal and a band of ±30 %."""
    values = [value for _, *pair in dots for value in pair]
    low, high = math.log10(min(values)) - 0.05, math.log10(max(values)) + 0.05

    def at(value: float) -> float:
        return SIZE * (math.log10(value) - low) / (high - low)

    bottom = TOP + SIZE
    yield f'<g transform="translate({left} 0)">'
    yield f'<text x="0" y="{TOP - 12}" font-weight="bold">{title}</text>'
    yield f'<rect x="0" y="{TOP}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#999999"/>'
    shift = SIZE * math.log10(1.3) / (high - low)
    for offset, dash in (
        (0.0, ""),
        (shift, ' stroke-dasharray="4 4"'),
        (-shift, ' stroke-dasharray="4 4"'),
    ):
        x1, y1 = max(0.0, -offset), max(0.0, offset)
        x2, y2 = min(SIZE, SIZE - offset), min(SIZE, SIZE + offset)
        yield (
            f'<line x1="{x1:.1f}" y1="{bottom - y1:.1f}" x2="{x2:.1f}" y2="{bottom - y2:.1f}" '
            f'stroke="#999999"{dash}/>'
        )
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        place = at(10.0**exponent)
        label = f"{10.0**exponent:g}"
        yield f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{label}</text>'
        yield f'<text x="-6" y="{bottom - place + 4:.1f}" text-anchor="end">{label}</text>'
    groups = sorted({name for name, _, _ in dots})
    for name, measured, predicted in dots:
        colour = COLOURS[groups.index(name) % len(COLOURS)]
        yield (
            f'<circle cx="{at(measured):.1f}" cy="{bottom - at(predicted):.1f}" r="3" '
            f'fill="{colour}" fill-opacity="0.6"/>'
        )
    for number, name in enumerate(groups):
        colour = COLOURS[number % len(COLOURS)]
        y = TOP + 18 + 15 * number
        yield f'<circle cx="12" cy="{y - 4}" r="4" fill="{colour}"/>'
        yield f'<text x="22" y="{y}">{name}</text>'
    yield f'<text x="{SIZE / 2}" y="{bottom + 36}" text-anchor="middle">measured, {unit}</text>'
    yield (
        f'<text transform="translate(-38 {TOP + SIZE / 2}) rotate(-90)" '
        f'text-anchor="middle">predicted, {unit}</text>'
    )
    yield "</g>"


def picture(measured: list[Point], others: list[Published]) -> str:
    """The SVG."""
    tpot: Dots = [(p.row["model"], p.tpot * 1e3, p.predicted.tpot * 1e3) for p in measured]
    rates: Dots = [
        (row.row["gpu"], row.value, row.predicted)
        for row in others
        if row.row["metric"] == "tokens/s"
    ]
    draw: Callable[[float, str, str, Dots], Iterable[str]] = panel
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12" '
                'fill="#222222">',
                f"<title>{TITLE}</title>",
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
                f'<text x="{LEFT}" y="28" font-size="15" font-weight="bold">{TITLE}</text>',
                *draw(LEFT, "TPOT of points that were fitted", "ms", tpot),
                *draw(LEFT + SIZE + GAP, "Throughput of others' figures", "tokens/s", rates),
                "</svg>",
            ]
        )
        + "\n"
    )


def main() -> None:
    """Writes both."""
    measured, others = points(), published()
    PAGE.write_text(page(measured, others), encoding="utf-8")
    SVG.write_text(picture(measured, others), encoding="utf-8")
    sys.stdout.write("\n".join(measured_table(measured)) + "\n")


if __name__ == "__main__":
    main()
