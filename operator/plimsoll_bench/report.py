"""Results as text for a terminal."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from plimsoll_bench.comparison import MEANINGFUL, Compared
from plimsoll_bench.figures import Figures, Spread
from plimsoll_bench.result import Ramp, Result, Run
from plimsoll_bench.workloads import DESCRIPTION
from plimsoll_operator.reports.layout import row, table
from plimsoll_planner.text import figure

PERCENTILES = ("p50", "p90", "p95", "p99", "mean")
SPREADS = ("ttft", "tpot", "itl", "e2e")


def seconds(value: float | None) -> str:
    """With three digits, in the unit that suits: `11.7ms`, `2.31s`."""
    if value is None:
        return "–"
    return f"{figure(value)}s" if value >= 1 else f"{figure(value * 1e3)}ms"


def rate(value: float | None) -> str:
    """Per second."""
    return "–" if value is None else f"{figure(value)}/s"


def progress(run: Run) -> str:
    """One line for a run that has ended."""
    found = run.figures
    parts = [f"{run.workload} #{run.repetition}  {seconds(found.seconds)}"]
    for name, spread in (("TTFT", found.ttft), ("TPOT", found.tpot)):
        if spread is not None:
            parts.append(f"{name} {seconds(spread.p50)}, p99 {seconds(spread.p99)}")
    parts.append(f"{figure(found.output_rate)} output tokens/s")
    parts += [f"{count} failed ({kind})" for kind, count in found.failures.items()]
    parts += _host(run)
    if run.client.trouble:
        parts.append(f"! {run.client.trouble}")
    return "  ".join(parts)


def report(result: Result) -> str:
    """All workloads, with medians over repetitions, and the ramp."""
    lines = [f"{result.model} at {result.url}", row("asked by", result.dialect)]
    for name in dict.fromkeys(run.workload for run in result.runs):
        lines += ["", *_workload([run for run in result.runs if run.workload == name])]
    if result.ramp is not None:
        lines += ["", *_ramp(result.ramp)]
    return "\n".join(lines)


def comparison(compared: Sequence[Compared], labels: Sequence[str]) -> str:
    """Side by side, ratios to the first."""
    lines: list[str] = []
    for each in compared:
        lines += [_title(each.workload), *_figures_of(each, labels)]
        if each.equal_answers is not None:
            lines.append(f"  answers equal in {each.equal_answers} of {each.answers} requests")
        lines += [f"  ! {note}" for note in each.notes]
        lines.append("")
    lines.append(f"ratios are to {labels[0]}; = is less than {MEANINGFUL:.0%}, which means nothing")
    return "\n".join(lines)


def _title(workload: str) -> str:
    what = DESCRIPTION.get(workload.partition("r")[0], "")
    return f"{workload}  {what}".rstrip()


def _workload(runs: Sequence[Run]) -> Iterator[str]:
    count = len(runs)
    yield f"{_title(runs[0].workload)}" + (f"; medians of {count}" if count > 1 else "")
    cells = [["", *PERCENTILES]]
    for name in SPREADS:
        spreads = [found for run in runs if (found := _spread(run.figures, name)) is not None]
        if spreads:
            medians = [statistics.median(getattr(s, p) for s in spreads) for p in PERCENTILES]
            cells.append([name.upper(), *map(seconds, medians)])
    yield from table(cells, right=frozenset(range(1, len(PERCENTILES) + 1)))
    yield row("tokens", _rates(runs))
    failures: Counter[str] = sum((Counter(run.figures.failures) for run in runs), Counter())
    if failures:
        told = ", ".join(f"{number} × {kind}" for kind, number in failures.items())
        reason = next(reason for run in runs for reason in run.reasons)
        yield row("failed", f"{told} of {sum(run.figures.requests for run in runs)} requests")
        yield row("", f"such as: {reason}")
    goodput = _median(runs, lambda found: found.goodput)
    if goodput is not None:
        share = _median(runs, lambda found: found.good_share)
        yield row("goodput", f"{rate(goodput)}, {share:.0%} of requests")
    yield row("host", ", ".join(_worst_host(runs)))
    yield row("client", _client(runs))


def _rates(runs: Sequence[Run]) -> str:
    found = [
        f"output {rate(_median(runs, lambda each: each.output_rate))}",
        f"all {rate(_median(runs, lambda each: each.total_rate))}",
    ]
    prefill = _median(runs, lambda each: each.prefill_rate)
    if prefill is not None:
        found.append(f"prefill {rate(prefill)}")
    took = _median(runs, lambda each: each.seconds)
    return f"{', '.join(found)}; {runs[0].figures.requests} requests in {seconds(took)}"


def _median(runs: Sequence[Run], of: Callable[[Figures], float | None]) -> float | None:
    known = [value for run in runs if (value := of(run.figures)) is not None]
    return statistics.median(known) if known else None


def _spread(figures: Figures, name: str) -> Spread | None:
    found: Spread | None = getattr(figures, name)
    return found


def _host(run: Run) -> list[str]:
    if run.host is None:
        return []
    foreign = "" if run.host.foreign is None else f", others {run.host.foreign:.0%}"
    return [f"steal {run.host.steal:.0%}{foreign}"]


def _worst_host(runs: Sequence[Run]) -> list[str]:
    known = [run.host for run in runs if run.host is not None]
    if not known:
        return ["not known here"]
    found = [f"stolen by the hypervisor {max(each.steal for each in known):.0%}"]
    foreign = [each.foreign for each in known if each.foreign is not None]
    if foreign:
        found.append(f"used by others {max(foreign):.0%}")
    else:
        found.append(f"busy {max(each.busy for each in known):.0%}, by whom is not known")
    return found


def _ramp(ramp: Ramp) -> Iterator[str]:
    cells = [
        ["requests/s", "TTFT p50", "p95", "TPOT p50", "p95", "E2E", "output", "good", "failed"]
    ]
    for run in ramp.runs:
        found = run.figures
        cells.append(
            [
                figure(run.rate or 0.0),
                *(
                    seconds(None if spread is None else getattr(spread, name))
                    for spread in (found.ttft, found.tpot)
                    for name in ("p50", "p95")
                ),
                seconds(None if found.e2e is None else found.e2e.mean),
                rate(found.output_rate),
                "–" if found.good_share is None else f"{found.good_share:.0%}",
                str(found.failed),
            ]
        )
    yield "ramp"
    yield from table(cells, right=frozenset(range(9)))
    if ramp.knee is None:
        yield row("knee", "none between these loads")
    else:
        yield row("knee", f"{figure(ramp.knee)} requests/s: from there on latency grows faster")
    if ramp.sustained is not None:
        yield row("sustained", f"{figure(ramp.sustained)} requests/s within every objective")
    yield row("client", _client(ramp.runs))


def _client(runs: Sequence[Run]) -> str:
    troubles = [run.client.trouble for run in runs if run.client.trouble]
    if not troubles:
        return "kept up"
    return f"! {troubles[0]}" + (f", and {len(troubles) - 1} more runs" if troubles[1:] else "")


def _figures_of(compared: Compared, labels: Sequence[str]) -> Iterator[str]:
    head = ["", labels[0]]
    for label in labels[1:]:
        head += [label, "ratio", ""]
    cells = [head]
    marks = {"better": "better", "worse": "worse", "same": "="}
    for each in compared.rows:
        write = rate if each.figure.more_is_better else seconds
        line = [each.figure.name, write(each.medians[0])]
        for index, (median, ratio) in enumerate(zip(each.medians, each.ratios, strict=True)):
            if index:
                told = "–" if ratio is None else f"{ratio:.2f}"
                line += [write(median), told, marks[each.verdict(index)]]
        cells.append(line)
    right = {i for i in range(1, len(head)) if i == 1 or i % 3 != 1}
    return iter(table(cells, right=frozenset(right)))
