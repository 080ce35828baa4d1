"""What was asked of our engine against the best of the others, and what came out."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from e2e.peers import trace
from e2e.peers.engine import Precision
from e2e.peers.measurement import Measurement
from e2e.peers.ours import OURS
from plimsoll_bench.comparison import FIGURES, MEANINGFUL, NOISY, Figure
from plimsoll_bench.result import Run

LEVEL = 1.0
FIGURE: dict[str, Figure] = {each.name: each for each in FIGURES}


@dataclass(frozen=True)
class Asked:
    """Times better by model, LEVEL for no worse. Ours of that precision is set against others of
    the same, or against all where `all_classes`: who had the choice took the faster one."""

    workload: str
    figure: str
    ratio: Mapping[str, float]
    precision: Precision = Precision.BF16
    all_classes: bool = False


def _both(ratio: float) -> dict[str, float]:
    return {"135m": ratio, "0.5b": ratio}


ASKED = (
    Asked("W1", "TPOT p50", {"135m": 1.3, "0.5b": 1.2}),
    Asked("W1", "TPOT p50", _both(1.4), Precision.INT8),
    Asked("W1", "TTFT p50", _both(LEVEL)),
    Asked("W1", "TTFT p50", _both(1.3), Precision.INT8, all_classes=True),
    Asked("W2", "prefill tokens", _both(LEVEL)),
    Asked("W2", "prefill tokens", _both(1.5), Precision.INT8, all_classes=True),
    Asked("W3", "output tokens", {"135m": 1.3, "0.5b": 1.15}),
    Asked("W4", "seconds in all", {"135m": 1.3, "0.5b": 1.05}),
    *(
        Asked(workload, figure, {model: 1.3})
        for workload, model in (("W5r2", "135m"), ("W5r1", "0.5b"))
        for figure in ("TTFT p99", "TPOT p99")
    ),
    Asked(trace.NAME, "goodput", _both(1.3)),
)
FIRST_TOKEN_SECONDS = 5.0
"""Asked of ours with the larger model, from the start of its process."""
SPARE_BYTES = 500e6
"""Asked of ours: the most memory beside the weights and the budget of the KV cache."""


@dataclass(frozen=True)
class Judged:
    """Medians of `name`, the best of ours in that class, and of the best other. `ratio` above 1 is
    better for ours, and between `low` and `high` in the single rounds."""

    asked: Asked
    name: str
    ours: float
    other: float
    best: str
    ratio: float
    low: float
    high: float
    rounds: int
    wanted: float

    @property
    def holds(self) -> bool:
        """Whether it is as asked; level is what differs by less than means anything."""
        wanted = 1 / (1 + MEANINGFUL) if self.wanted == LEVEL else self.wanted
        return self.ratio >= wanted


def judge(asked: Asked, model: str, found: Sequence[Measurement]) -> Judged | None:
    """None where nothing was asked of that model, or ours or all others were not measured."""
    wanted = asked.ratio.get(model)
    if wanted is None:
        return None
    figure = FIGURE[asked.figure]
    mine: dict[str, dict[int, float]] = {}
    others: dict[str, dict[int, float]] = {}
    for each in of_model(found, model):
        engine, is_ours = each.turn.engine, each.turn.engine.startswith(OURS)
        if each.precision is asked.precision or (asked.all_classes and not is_ours):
            known = values(found, model, engine, asked.workload, figure)
            if known:
                (mine if is_ours else others)[engine] = known
    if not mine or not others:
        return None
    name, best = _best(figure, mine), _best(figure, others)
    ours, theirs = mine[name], others[best]
    medians = [statistics.median(known.values()) for known in (ours, theirs)]
    ratio = _better(figure, *medians)
    pairs = [_better(figure, ours[each], theirs[each]) for each in ours.keys() & theirs.keys()]
    pairs = pairs or [ratio]
    return Judged(
        asked, name, medians[0], medians[1], best, ratio, min(pairs), max(pairs), len(ours), wanted
    )


def _best(figure: Figure, known: Mapping[str, Mapping[int, float]]) -> str:
    """Whose median is the best."""
    pick = max if figure.more_is_better else min
    return pick(known, key=lambda name: statistics.median(known[name].values()))


def values(
    found: Sequence[Measurement], model: str, engine: str, workload: str, figure: Figure
) -> dict[int, float]:
    """By round; those in which others took much of the cores are left out where any are left."""
    runs = dict(_runs(found, model, engine, workload))
    known = {
        number: value
        for number, run in runs.items()
        if not run.figures.failed and (value := figure.of(run.figures)) is not None
    }
    quiet = {number: value for number, value in known.items() if noise(runs[number]) <= NOISY}
    return quiet or known


def noise(run: Run) -> float:
    """The share of the cores that others took."""
    return 0.0 if run.host is None else run.host.noise


def of_model(found: Sequence[Measurement], model: str) -> list[Measurement]:
    """Those of a model."""
    return [each for each in found if each.turn.model == model]


def _runs(
    found: Sequence[Measurement], model: str, engine: str, workload: str
) -> Iterator[tuple[int, Run]]:
    for each in of_model(found, model):
        if each.turn.engine == engine and each.result is not None:
            for run in each.result.runs:
                if run.workload.partition(" ")[0] == workload:
                    yield each.turn.round, run


def _better(figure: Figure, ours: float, theirs: float) -> float:
    """How many times; infinite where theirs is nothing."""
    if figure.more_is_better:
        return ours / theirs if theirs else float("inf")
    return theirs / ours if ours else float("inf")
