"""Several results side by side: medians over repetitions, and how they relate."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from plimsoll_bench.figures import Figures, Spread
from plimsoll_bench.result import Result, Run

MEANINGFUL = 0.15
"""Smaller differences come and go with the machine's mood."""
ENOUGH_REPETITIONS = 3
NOISY = 0.1
"""Share of the cores that others took, beyond which figures are doubtful."""


class NotComparableError(ValueError):
    """The results are of different work; each line says what differs."""


@dataclass(frozen=True)
class Figure:
    """A figure: its name, its unit (`s` or `/s`), and where it stands. More is better for rates."""

    name: str
    unit: str
    of: Callable[[Figures], float | None]

    @property
    def more_is_better(self) -> bool:
        """Else less is."""
        return self.unit == "/s"


def _percentile(spread: str, name: str) -> Callable[[Figures], float | None]:
    def of(figures: Figures) -> float | None:
        found: Spread | None = getattr(figures, spread)
        return None if found is None else float(getattr(found, name))

    return of


GOODPUT = Figure("goodput", "/s", lambda figures: figures.goodput)
FIGURES = (
    *(
        Figure(f"{spread.upper()} {name}", "s", _percentile(spread, name))
        for spread, names in (
            ("ttft", ("p50", "p99")),
            ("tpot", ("p50", "p99")),
            ("itl", ("p50", "p99")),
            ("e2e", ("p50", "p99")),
        )
        for name in names
    ),
    Figure("seconds in all", "s", lambda figures: figures.seconds),
    Figure("prefill tokens", "/s", lambda figures: figures.prefill_rate),
    Figure("output tokens", "/s", lambda figures: figures.output_rate),
    Figure("all tokens", "/s", lambda figures: figures.total_rate),
    GOODPUT,
)


@dataclass(frozen=True)
class Row:
    """A figure's medians, one for each result; `ratios` are to the first result's."""

    figure: Figure
    medians: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float | None, ...]:
        """None where the first is 0."""
        first = self.medians[0]
        return tuple(each / first if first else None for each in self.medians)

    def verdict(self, index: int) -> str:
        """How the result of that index does against the first: `better`, `worse`, or `same` where
        the difference means nothing."""
        ratio = self.ratios[index]
        if ratio is None or abs(ratio - 1) < MEANINGFUL:
            return "same"
        return "better" if (ratio > 1) == self.figure.more_is_better else "worse"


@dataclass(frozen=True)
class Compared:
    """One workload. `equal_answers` of `answers` requests were answered with the same tokens by
    all; None where digests are of different kinds. `notes` are what to know before quoting it."""

    workload: str
    repetitions: tuple[int, ...]
    rows: tuple[Row, ...]
    equal_answers: int | None
    answers: int
    notes: tuple[str, ...]


def compare(results: Sequence[Result]) -> tuple[Compared, ...]:
    """Each workload that was run. Raises NotComparableError where the work was not the same."""
    reasons = list(_differences(results))
    if reasons:
        raise NotComparableError("\n".join(reasons))
    return tuple(_compared(name, results) for name in _workloads(results[0]))


def _workloads(result: Result) -> list[str]:
    return list(dict.fromkeys(run.workload for run in result.runs))


def _of(result: Result, workload: str) -> list[Run]:
    return [run for run in result.runs if run.workload == workload]


def _differences(results: Sequence[Result]) -> Iterator[str]:
    first = results[0]
    names = _workloads(first)
    if not names:
        yield f"{first.label}: has no runs to compare"
    for other in results[1:]:
        if set(_workloads(other)) != set(names):
            yield (
                f"{first.label} ran {', '.join(names)}, {other.label} ran "
                f"{', '.join(_workloads(other)) or 'nothing'}: run the same workloads"
            )
    for name in names:
        yield from _different_runs(name, results)


def _different_runs(name: str, results: Sequence[Result]) -> Iterator[str]:
    reference = _of(results[0], name)[0]
    for result in results:
        for run in _of(result, name):
            what = f"{name}, repetition {run.repetition} of {result.label}"
            found, wanted = run.figures, reference.figures
            if run.spec != reference.spec:
                yield f"{what}: lengths, times or concurrency are not those of {results[0].label}"
            elif found.failed:
                kinds = ", ".join(f"{count} × {kind}" for kind, count in found.failures.items())
                yield f"{what}: {found.failed} of {found.requests} requests failed ({kinds})"
            elif (found.prompt_tokens, found.output_tokens) != (
                wanted.prompt_tokens,
                wanted.output_tokens,
            ):
                yield (
                    f"{what}: {found.prompt_tokens} tokens of prompts and {found.output_tokens} of "
                    f"answers, not {wanted.prompt_tokens} and {wanted.output_tokens}"
                )


def _compared(name: str, results: Sequence[Result]) -> Compared:
    runs = [_of(result, name) for result in results]
    rows = []
    for figure in FIGURES:
        found = [[figure.of(run.figures) for run in each] for each in runs]
        known = [[value for value in each if value is not None] for each in found]
        if all(known) and (figure is not GOODPUT or _same_objectives(results)):
            rows.append(Row(figure, tuple(statistics.median(each) for each in known)))
    equal, answers = _equal_answers(runs)
    return Compared(
        name,
        tuple(map(len, runs)),
        tuple(rows),
        equal,
        answers,
        tuple(_notes(results, runs)),
    )


def _same_objectives(results: Sequence[Result]) -> bool:
    return len({each.objectives for each in results}) == 1


def _equal_answers(runs: Sequence[Sequence[Run]]) -> tuple[int | None, int]:
    """Of requests that all results have: how many were answered alike, and how many there are."""
    by_request: list[dict[tuple[int, int], str]] = [
        {
            (run.repetition, index): digest
            for run in each
            for index, digest in enumerate(run.answers)
        }
        for each in runs
    ]
    shared = set(by_request[0]).intersection(*by_request[1:])
    groups = [{each[key] for each in by_request} for key in shared]
    kinds = {digest.partition(":")[0] for group in groups for digest in group}
    if len(kinds) != 1:
        return None, len(groups)
    return sum(len(group) == 1 for group in groups), len(groups)


def _notes(results: Sequence[Result], runs: Sequence[Sequence[Run]]) -> Iterator[str]:
    if not _same_objectives(results):
        yield "objectives differ, so goodput is not compared: give both the same --ttft and --tpot"
    for result, each in zip(results, runs, strict=True):
        if len(each) < ENOUGH_REPETITIONS:
            noun = "repetition" if len(each) == 1 else "repetitions"
            yield f"{result.label}: only {len(each)} {noun}"
        noise = max((run.host.noise for run in each if run.host), default=0.0)
        if noise > NOISY:
            yield f"{result.label}: others took up to {noise:.0%} of the cores"
        trouble = next((run.client.trouble for run in each if run.client.trouble), "")
        if trouble:
            yield f"{result.label}: {trouble}"
