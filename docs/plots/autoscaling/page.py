"""The page and the picture, from results."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from docs.plots.autoscaling.results import Row
from docs.plots.autoscaling.sweep import FIXED, OURS, PEERS

DOCS = Path(__file__).parents[2]
PAGE, SVG = DOCS / "autoscaling.md", DOCS / "autoscaling.svg"
TEMPLATE = Path(__file__).with_name("page.md.template")
PROMISED = 0.95
"""Of requests: promises are 95th percentiles."""
COLOURS = {
    OURS: "#c8553d",
    FIXED: "#999999",
    "HPA": "#b8860b",
    "KPA": "#0b6e99",
    "KubeAI": "#5b8c5a",
    "llm-d": "#8a5a9e",
}
TITLE = "GPUs against kept promises: every law with every parameter tried"
SIZE, GAP, LEFT, TOP, COLUMNS = 250, 60, 50, 92, 4


def best(rows: Iterable[Row]) -> Row:
    """The cheapest that keeps the promise, else the one that keeps it most often."""
    found = list(rows)
    keeping = [row for row in found if row.attainment >= PROMISED]
    if keeping:
        return min(keeping, key=lambda row: (row.gpu_seconds, -row.attainment))
    return max(found, key=lambda row: (row.attainment, -row.gpu_seconds))


def by_case(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each case, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.case, []).append(row)
    return found


def summary(rows: Sequence[Row]) -> Iterable[str]:
    """Mean GPUs of ours, and how many more each peer takes at its best on that very trace."""
    yield f"| trace | {OURS}: kept | GPUs | flaps | " + " | ".join(PEERS) + f" | {FIXED} |"
    yield "|---|---|---|---|" + "---|" * (len(PEERS) + 1)
    for name, found in by_case(rows).items():
        ours = next(row for row in found if row.law == OURS)
        cells = [_against(ours, best(r for r in found if r.law == law)) for law in (*PEERS, FIXED)]
        yield (
            f"| {name} | {ours.attainment:.1%} | {ours.mean_gpus:.2f} | {ours.flaps} | "
            + " | ".join(cells)
            + " |"
        )


def _against(ours: Row, other: Row) -> str:
    if other.attainment < PROMISED:
        return f"misses: {other.attainment:.1%}"
    return f"{other.gpu_seconds / ours.gpu_seconds - 1:+.0%} ({other.attainment:.1%})"


def equal(rows: Sequence[Row]) -> Iterable[str]:
    """What each peer takes more than ours to keep as much: as documented, and at its cheapest."""
    yield f"| trace | {OURS}: kept | " + " | ".join(PEERS) + " |"
    yield "|---|---|" + "---|" * len(PEERS)
    for name, found in by_case(rows).items():
        ours = next(row for row in found if row.law == OURS)
        cells = [_as_good(ours, [row for row in found if row.law == law]) for law in PEERS]
        yield f"| {name} | {ours.attainment:.1%} | " + " | ".join(cells) + " |"


def _as_good(ours: Row, of: Sequence[Row]) -> str:
    keeping = as_good(ours, of)
    documented = next((row for row in keeping if row.is_documented), None)
    if not keeping:
        return "never"
    cheapest = min(keeping, key=lambda row: row.gpu_seconds)
    return f"{_more(ours, documented)}, tuned {_more(ours, cheapest)}"


def _more(ours: Row, other: Row | None) -> str:
    return "never" if other is None else f"{other.gpu_seconds / ours.gpu_seconds - 1:+.1%}"


def as_good(ours: Row, of: Iterable[Row]) -> list[Row]:
    """Those that keep the promise at least as often as ours."""
    return [row for row in of if row.attainment >= ours.attainment]


def one_setting(rows: Sequence[Row]) -> Iterable[str]:
    """Each law with the one setting that keeps the promise on most traces, and then is cheapest."""
    cases = by_case(rows)
    yield f"| law | parameters | traces kept, of {len(cases)} | least kept | GPU seconds, all |"
    yield "|---|---|---|---|---|"
    ours = sum(row.gpu_seconds for row in rows if row.law == OURS)
    for law in (OURS, *PEERS):
        found: dict[str, list[Row]] = {}
        for row in rows:
            if row.law == law:
                found.setdefault(row.parameters, []).append(row)
        name, chosen = min(found.items(), key=lambda item: _rank(item[1]))
        total = sum(row.gpu_seconds for row in chosen)
        yield (
            f"| {law} | {name} | {_kept(chosen)} | {min(row.attainment for row in chosen):.1%} "
            f"| {total:,.0f} ({total / ours - 1:+.0%}) |"
        )


def _kept(rows: Sequence[Row]) -> int:
    return sum(row.attainment >= PROMISED for row in rows)


def _rank(rows: Sequence[Row]) -> tuple[float, float]:
    return -_kept(rows), sum(row.gpu_seconds for row in rows)


def details(rows: Sequence[Row]) -> Iterable[str]:
    """Ours, and every peer as documented and at its best."""
    yield "| trace | law | parameters | kept | TTFT | TPOT | GPU seconds | GPUs | flaps |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, found in by_case(rows).items():
        for law in (OURS, *PEERS, FIXED):
            of = [row for row in found if row.law == law]
            chosen = [*(row for row in of if row.is_documented), best(of)]
            for row in dict.fromkeys(chosen):
                how = "documented" if row.is_documented else "best"
                yield (
                    f"| {name} | {law} | {row.parameters} ({how}) | {row.attainment:.1%} "
                    f"| {row.ttft_kept:.1%} | {row.tpot_kept:.1%} | {row.gpu_seconds:,.0f} "
                    f"| {row.mean_gpus:.2f} | {row.flaps} |"
                )


def not_led(rows: Sequence[Row]) -> Iterable[str]:
    """Where some parameters of some peer keep the promise at no more cost, or ours misses it."""
    lines = []
    for name, found in by_case(rows).items():
        ours = next(row for row in found if row.law == OURS)
        if ours.attainment < PROMISED:
            lines.append(f"* {name}: {OURS} itself keeps {ours.attainment:.1%} only.")
        for law in PEERS:
            other = best(row for row in found if row.law == law)
            if other.attainment >= PROMISED and other.gpu_seconds <= ours.gpu_seconds:
                lines.append(
                    f"* {name}: {law} with {other.parameters} keeps {other.attainment:.1%} "
                    f"with {other.mean_gpus:.2f} GPUs, {OURS} {ours.attainment:.1%} with "
                    f"{ours.mean_gpus:.2f}."
                )
    return lines or ["None."]


def page(rows: Sequence[Row]) -> str:
    """The document."""
    tables = {
        "summary": summary(rows),
        "equal": equal(rows),
        "one_setting": one_setting(rows),
        "not_led": not_led(rows),
        "details": details(rows),
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8"))
    return text.substitute({name: "\n".join(lines) for name, lines in tables.items()})


def picture(rows: Sequence[Row]) -> str:
    """A panel a case: mean GPUs to the right, attainment upwards, a dot a law with parameters."""
    cases = by_case(rows)
    width = LEFT + COLUMNS * (SIZE + GAP)
    height = TOP + -(-len(cases) // COLUMNS) * (SIZE + GAP + 16)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12" '
        'fill="#222222">',
        f"<title>{TITLE}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="bold">{TITLE}</text>',
    ]
    for number, (law, colour) in enumerate(COLOURS.items()):
        x = LEFT + 110 * number
        lines.append(f'<circle cx="{x + 6}" cy="44" r="5" fill="{colour}"/>')
        lines.append(f'<text x="{x + 16}" y="48">{law}</text>')
    for number, (name, found) in enumerate(cases.items()):
        left = LEFT + number % COLUMNS * (SIZE + GAP)
        top = TOP + number // COLUMNS * (SIZE + GAP + 16)
        lines += panel(left, top, name, found)
    return "\n".join([*lines, "</svg>"]) + "\n"


def panel(left: float, top: float, name: str, rows: Sequence[Row]) -> Iterable[str]:
    """Attainment from 50 to 100 %; what costs over three times ours, or keeps less, is left out."""
    ours = next(row for row in rows if row.law == OURS)
    most = 3 * ours.mean_gpus

    def place(row: Row) -> tuple[float, float]:
        return SIZE * row.mean_gpus / most, SIZE * (1 - row.attainment) / 0.5

    yield f'<g transform="translate({left} {top})">'
    yield f'<text x="0" y="-8" font-weight="bold">{name}</text>'
    yield f'<rect width="{SIZE}" height="{SIZE}" fill="none" stroke="#999999"/>'
    line = SIZE * (1 - PROMISED) / 0.5
    yield (
        f'<line x1="0" y1="{line:.1f}" x2="{SIZE}" y2="{line:.1f}" stroke="#999999" '
        'stroke-dasharray="4 4"/>'
    )
    for share in (0.5, 0.75, PROMISED, 1.0):
        y = SIZE * (1 - share) / 0.5
        yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>'
    for part in range(4):
        label = f"{most * part / 3:.1f}"
        yield f'<text x="{SIZE * part / 3:.1f}" y="{SIZE + 16}" text-anchor="middle">{label}</text>'
    yield f'<text x="{SIZE / 2}" y="{SIZE + 32}" text-anchor="middle">mean GPUs</text>'
    for row in sorted(rows, key=lambda each: each.law == OURS):
        x, y = place(row)
        if x <= SIZE and y <= SIZE:
            radius = 6 if row.law == OURS else 3
            yield (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{COLOURS[row.law]}" '
                'fill-opacity="0.7"/>'
            )
    yield "</g>"
