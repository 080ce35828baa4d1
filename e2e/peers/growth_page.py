"""The page and the pictures of how costs grow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from e2e.peers.engine import Precision
from e2e.peers.growth import CLIFF, CONTEXTS, SEQUENCES, Point, cliffs
from e2e.peers.models import MODELS
from e2e.peers.roofline import Roofline
from plimsoll_bench.comparison import NOISY
from plimsoll_bench.report import rate, seconds
from plimsoll_operator.drawing.panels import COLOURS, Curve, Panel, picture
from plimsoll_operator.drawing.svg import svg

_FEW = 2
"""Of all contexts and counts, each so many-th is drawn."""


@dataclass(frozen=True)
class Growth:
    """Of one engine with one model. `steps` are (sequences, context, seconds of a step), `rates`
    (requests at once, output tokens per second); `noise` is the largest share of the cores that
    others took in any point."""

    engine: str
    version: str
    model: str
    precision: Precision
    commit: str
    ended: str
    roofline: Roofline
    steps: tuple[tuple[int, int, float], ...]
    rates: tuple[tuple[int, float], ...]
    noise: float

    @property
    def seconds(self) -> dict[Point, float]:
        """Of steps."""
        return {Point(sequences, context): took for sequences, context, took in self.steps}

    @property
    def name(self) -> str:
        """Of its pictures."""
        return f"growth-{self.model}-{self.engine}"


_DOCUMENT = TypeAdapter(list[Growth])


def read(file: Path) -> list[Growth]:
    """What was written before. Raises pydantic's ValidationError."""
    return _DOCUMENT.validate_json(file.read_bytes()) if file.exists() else []


def write(found: Sequence[Growth], folder: Path, machine: dict[str, str]) -> None:
    """growth.json, growth.md and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_bytes(_DOCUMENT.dump_json(list(found), indent=1) + b"\n")
    (folder / "growth.md").write_text(page(found, machine), encoding="utf-8")
    for each in found:
        (folder / f"{each.name}.svg").write_text(steps_plot(each), encoding="utf-8")
    for model in dict.fromkeys(each.model for each in found):
        file = folder / f"growth-{model}-throughput.svg"
        file.write_text(rates_plot([each for each in found if each.model == model]), "utf-8")


def page(found: Sequence[Growth], machine: dict[str, str]) -> str:
    """Markdown."""
    lines = [
        "# How costs grow",
        "",
        "Written by `make bench-growth`, as a client measured it on "
        f"{machine.get('cpu', 'an unknown CPU')}, {machine.get('cores', '?')} cores.",
        "*TPOT* is that of a step that holds all sequences: between the moment when all have begun",
        "to answer and the first one's end; the best of its repetitions, since noise only adds.",
        "*Context* is prompt and answer, *throughput* that of a closed loop of W5's lengths until",
        "its last request begins.",
        "",
        f"A *cliff* is a point that costs over {CLIFF} times what the line between its neighbours",
        "says; at the end of a line, over that much more than in proportion to the point before.",
    ]
    for each in found:
        lines += ["", *_section(each)]
    for model in dict.fromkeys(each.model for each in found):
        lines += ["", *_throughput(model, [each for each in found if each.model == model])]
    return "\n".join(lines) + "\n"


def _section(each: Growth) -> Iterator[str]:
    limit = each.roofline.tpot(MODELS[each.model].facts, each.precision)
    yield f"## {each.model}, {each.engine} {each.version}, {each.precision}"
    yield ""
    busy = f"; **others took up to {each.noise:.0%} of the cores**" if each.noise > NOISY else ""
    yield (
        f"Measured until {each.ended} at {each.commit or 'an unknown commit'}{busy}. The machine "
        f"read {each.roofline.bandwidth / 1e9:.0f} GB/s, so a step takes {seconds(limit)} at least."
    )
    yield ""
    yield f"![TPOT by sequences and by context]({each.name}.svg)"
    yield ""
    yield "| context | " + " | ".join(f"{count} at once" for count in SEQUENCES) + " |"
    yield "|---:" * (len(SEQUENCES) + 1) + "|"
    for context in CONTEXTS:
        row = [each.seconds.get(Point(count, context)) for count in SEQUENCES]
        if any(row):
            yield f"| {context} | " + " | ".join(map(seconds, row)) + " |"
    yield ""
    found = cliffs(each.seconds, dict(each.rates))
    yield "No cliff." if not found else "Cliffs:"
    for cliff in found:
        yield (
            f"- {cliff.line} {cliff.at}: {seconds(cliff.cost)} where the neighbours say "
            f"{seconds(cliff.expected)}, {cliff.cost / cliff.expected:.2f} times"
        )


def _throughput(model: str, found: Sequence[Growth]) -> Iterator[str]:
    counts = sorted({count for each in found for count, _ in each.rates})
    yield f"## {model}: output tokens per second"
    yield ""
    yield f"![Time per output token by requests at once](growth-{model}-throughput.svg)"
    yield ""
    yield "| requests at once | " + " | ".join(each.engine for each in found) + " |"
    yield "|---:" * (len(found) + 1) + "|"
    for count in counts:
        yield f"| {count} | " + " | ".join(rate(dict(e.rates).get(count)) for e in found) + " |"


def steps_plot(found: Growth) -> str:
    """TPOT along both axes."""
    by_sequences = {
        f"{context} tokens": [
            (float(count), took)
            for count in SEQUENCES
            if (took := found.seconds.get(Point(count, context))) is not None
        ]
        for context in CONTEXTS[::_FEW]
    }
    by_context = {
        f"{count} at once": [
            (float(context), took)
            for context in CONTEXTS
            if (took := found.seconds.get(Point(count, context))) is not None
        ]
        for count in SEQUENCES[::_FEW]
    }
    panels = (
        _panel("TPOT by sequences", "sequences at once", by_sequences),
        _panel("TPOT by context", "tokens of context", by_context),
    )
    return svg(picture(f"{found.engine} with {found.model}", "time of a decode step", panels))


def rates_plot(found: Sequence[Growth]) -> str:
    """Time per output token of all requests together, which is one over throughput."""
    lines = {
        each.engine: [(float(count), 1 / made) for count, made in each.rates] for each in found
    }
    panel = _panel("Time per output token of all", "requests at once", lines)
    title = f"Throughput with {found[0].model}"
    return svg(picture(title, "one over output tokens per second", [panel]))


def _panel(name: str, along: str, lines: dict[str, list[tuple[float, float]]]) -> Panel:
    drawn = {key: points for key, points in lines.items() if len(points) > 1}
    curves = tuple(
        Curve(key, points, COLOURS[number % len(COLOURS)])
        for number, (key, points) in enumerate(drawn.items())
    )
    values = [took for points in drawn.values() for _, took in points] or [1.0]
    return Panel(name, along, curves, min(values), 1.2 * max(values))
