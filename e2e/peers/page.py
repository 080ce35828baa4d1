"""The page of a comparison with other engines, from what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from e2e.peers.correctness import Agreement
from e2e.peers.roofline import Roofline
from plimsoll_bench.comparison import MEANINGFUL, Compared, NotComparableError, Row, compare
from plimsoll_bench.report import rate, seconds
from plimsoll_bench.result import Result
from plimsoll_bench.workloads import DESCRIPTION
from plimsoll_planner.text import gibibytes

OURS = "ours"
HEADLINES = {
    "W1": ("TTFT p50", "TPOT p50"),
    "W2": ("prefill tokens", "TTFT p50"),
    "W3": ("output tokens", "seconds in all"),
    "W4": ("seconds in all", "TTFT p50"),
    "W5": ("TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99"),
}


@dataclass(frozen=True)
class Started:
    """An engine as it was run: what, how, the seconds to its first sign of life, and its memory."""

    engine: str
    version: str
    note: str
    command: tuple[str, ...]
    ready_seconds: tuple[float, ...]
    peak_bytes: int


@dataclass(frozen=True)
class Limits:
    """What the machine allowed in these minutes: seconds of a token alone, tokens per second of a
    prompt of 1024."""

    roofline: Roofline
    tpot: float
    prefill: float


@dataclass(frozen=True)
class Measured:
    """One model on all engines; ours comes first where it ran."""

    model: str
    parameters: int
    results: tuple[Result, ...]
    started: tuple[Started, ...]
    limits: Limits
    agreement: Agreement | None
    failed: dict[str, str]


def page(found: Sequence[Measured], made: str, machine: dict[str, str]) -> str:
    """Markdown."""
    lines = [
        "# Beside other engines",
        "",
        "Written by `make bench-peers`. In each round every engine is started anew and sent the",
        "same requests ([the bench](../bench.md)), one after the other, so that all meet the",
        f"same minutes of this machine. Made {made} on {machine.get('cpu', 'an unknown CPU')}, "
        f"{machine.get('cores', '?')} cores. A",
        f"difference below {MEANINGFUL:.0%} means nothing here and has no verdict.",
    ]
    for each in found:
        lines += ["", *_model(each)]
    return "\n".join(lines) + "\n"


def _model(found: Measured) -> Iterator[str]:
    yield f"## {found.model}, {found.parameters / 1e6:.0f}M parameters, bf16"
    yield ""
    yield from _started(found)
    yield ""
    yield from _limits(found)
    for engine, reason in found.failed.items():
        yield ""
        yield f"{engine} did not run: `{reason.splitlines()[-1] if reason else 'unknown'}`"
    if found.agreement is not None:
        each = found.agreement
        verdict = "as it should" if each.holds else "**which is wrong**"
        yield ""
        yield (
            f"Our answer to W1 beside transformers in float32: {each.likeliest} of {each.tokens} "
            f"tokens are its likeliest, the others miss it by at most {each.short:.2f} standard "
            f"deviations of the logits; our log-probabilities of prompt and answer are at most "
            f"{each.off:.2f} off, {verdict}."
        )
    for workload in _workloads(found.results):
        yield ""
        yield from _workload(workload, found)


def _started(found: Measured) -> Iterator[str]:
    yield "| engine | version | ready after | memory at most | |"
    yield "|---|---|---|---|---|"
    for each in found.started:
        ready = sorted(each.ready_seconds)[len(each.ready_seconds) // 2]
        yield (
            f"| {each.engine} | {each.version} | {seconds(ready)} | {gibibytes(each.peak_bytes)} | "
            f"{each.note} |"
        )


def _limits(found: Measured) -> Iterator[str]:
    limit = found.limits
    yield (
        f"The machine reads {limit.roofline.bandwidth / 1e9:.0f} GB/s and multiplies bf16 matrices "
        f"at {limit.roofline.flops / 1e9:.0f} GFLOP/s (medians of the rounds), so no token alone "
        f"can take less than {seconds(limit.tpot)}, and no prompt of 1024 pass faster than "
        f"{rate(limit.prefill)}."
    )


def _workloads(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(run.workload for each in results for run in each.runs))


def _workload(workload: str, found: Measured) -> Iterator[str]:
    yield f"### {workload}: {DESCRIPTION.get(workload.partition('r')[0], '')}"
    yield ""
    parts = [
        replace(each, runs=tuple(run for run in each.runs if run.workload == workload))
        for each in found.results
    ]
    results = [each for each in parts if each.runs]
    try:
        (compared,) = compare(results)
    except NotComparableError as error:
        yield "Not comparable:"
        yield from (f"- {line}" for line in str(error).splitlines())
        return
    yield from _table(compared, [each.label for each in results], found.limits)


def _table(compared: Compared, labels: Sequence[str], limits: Limits) -> Iterator[str]:
    wanted = HEADLINES.get(compared.workload.partition("r")[0], ("TTFT p50", "TPOT p50"))
    rows = [row for name in wanted for row in compared.rows if row.figure.name == name]
    yield "| | " + " | ".join([*labels, "ours against the best other", "limit"]) + " |"
    yield "|---" * (len(labels) + 3) + "|"
    for row in rows:
        write = rate if row.figure.more_is_better else seconds
        limit = _limit(compared.workload, row, limits)
        cells = [write(median) + _share(row, median, limit) for median in row.medians]
        told = "" if limit is None else write(limit)
        yield f"| {row.figure.name} | {' | '.join(cells)} | {_against(row, labels)} | {told} |"
    if compared.equal_answers is not None:
        yield ""
        yield f"All answered alike in {compared.equal_answers} of {compared.answers} requests."
    for note in compared.notes:
        yield ""
        yield f"Note: {note}."


def _limit(workload: str, row: Row, limits: Limits) -> float | None:
    if workload == "W1" and row.figure.name == "TPOT p50":
        return limits.tpot
    if workload == "W2" and row.figure.name == "prefill tokens":
        return limits.prefill
    return None


def _share(row: Row, median: float, limit: float | None) -> str:
    """How much of what the machine allows."""
    if limit is None or not median:
        return ""
    share = median / limit if row.figure.more_is_better else limit / median
    return f" ({share:.0%} of the limit)"


def _against(row: Row, labels: Sequence[str]) -> str:
    """Ours against the best of the others: above 1 is better, whatever the figure."""
    others = [median for label, median in zip(labels, row.medians, strict=True) if label != OURS]
    if OURS not in labels or not others:
        return ""
    ours = row.medians[labels.index(OURS)]
    best = max(others) if row.figure.more_is_better else min(others)
    if not ours or not best:
        return ""
    ratio = ours / best if row.figure.more_is_better else best / ours
    verdict = "" if abs(ratio - 1) < MEANINGFUL else (", better" if ratio > 1 else ", worse")
    return f"{ratio:.2f}×{verdict}"
