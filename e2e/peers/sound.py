"""Drops runs that were other work, so that no ratio is of them."""

from collections.abc import Sequence
from dataclasses import replace

from e2e.peers.measurement import Measurement
from plimsoll_bench.comparison import NotComparableError, compare
from plimsoll_bench.result import Result


def sound(found: Sequence[Measurement]) -> tuple[list[Measurement], list[str]]:
    """The measurements of one model without runs in which requests failed, or whose lengths, times
    or counts of tokens are not those of most; and what was dropped, a line each."""
    kept: list[Measurement] = []
    dropped: list[str] = []
    references = _references(found)
    for each in found:
        if each.result is None:
            kept.append(each)
            continue
        runs = []
        for run in each.result.runs:
            alone = replace(each.result, runs=(run,))
            try:
                compare([references[run.workload], alone])
                runs.append(run)
            except NotComparableError as error:
                dropped += str(error).splitlines()
        kept.append(replace(each, result=replace(each.result, runs=tuple(runs))))
    return kept, dropped


def _references(found: Sequence[Measurement]) -> dict[str, Result]:
    """A result of each workload with one run, of the kind that most runs are of."""
    kinds: dict[str, dict[tuple[str, int, int, int], list[Result]]] = {}
    for each in found:
        if each.result is None:
            continue
        for run in each.result.runs:
            told = run.figures
            kind = (run.spec, told.prompt_tokens, told.output_tokens, told.failed)
            alone = replace(each.result, runs=(run,))
            kinds.setdefault(run.workload, {}).setdefault(kind, []).append(alone)
    return {
        workload: max(by_kind.items(), key=lambda pair: (not pair[0][3], len(pair[1])))[1][0]
        for workload, by_kind in kinds.items()
    }
