"""Writes `docs/plots/left_out.csv`: the error of a model that the constants were not fitted on.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.left_out`; takes
minutes. The six constants that an accelerator can have of its own are fitted together on all
measured points but those of one model, from what kernels reach alone and with weak priors there;
then the model left out is predicted. The last rows are a fit on all of them, and one on nothing but
the points that are judged: no constants of this model rank those better.
"""

import csv
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plimsoll_planner.calibration.linear import solve
from tests.unit.plimsoll_planner.measured import CONFIGS, accelerator, predict, rank_correlation
from tests.unit.plimsoll_planner.published import rows

CSV = Path(__file__).with_name("left_out.csv")
NAMES = ("compute", "bandwidth", "link", "step_seconds", "layer_seconds", "sequence_seconds")
BEFORE = (0.75, 0.85, 0.5, 1e-3, 2e-5, 1e-5)
"""Large matrix products and reads of measured kernels (see `performance`), an NVSwitch's share
between that of a ring and all of it, and guesses of the right size for what engines add."""
SPREAD = (0.1, 0.1, 0.7, 1.0, 1.0, 1.0)
"""Standard deviations of their logarithms."""
NOISE, HUBER = 0.05, 1.5
ALONE = "Llama-3.1-8B-Instruct"
"""The model whose points are fitted by themselves too."""
_ROUNDS, _DIFFERENCE = 12, 1e-3
Row = dict[str, str]


@dataclass(frozen=True)
class LeftOut:
    """The TPOT error of what was left out, a model or a system (of all, for `nothing`), with
    constants fitted on the others, and the rank correlation of the two."""

    model: str
    points: int
    median: float
    p90: float
    rank: float
    constants: tuple[float, ...]


def error(row: Row, logarithms: Sequence[float]) -> float:
    """Logarithm of predicted over measured TPOT."""
    compute, bandwidth, link, step, layer, sequence = map(math.exp, logarithms)
    gpu = accelerator(row)
    changed = replace(
        gpu,
        efficiency=replace(gpu.efficiency, compute=compute, bandwidth=bandwidth, link=link),
        step_seconds=step,
        layer_seconds=layer,
        sequence_seconds=sequence,
    )
    return math.log(predict(row, changed).tpot * 1e3 / float(row["tpot_ms"]))


def fit(known: Sequence[Row]) -> list[float]:
    """Logarithms of the constants: Gauss-Newton on Huber's loss, halving steps that do not help."""
    before = [math.log(value) for value in BEFORE]
    now = list(before)
    residuals = [error(row, now) for row in known]
    for _ in range(_ROUNDS):
        weights = [1.0 if abs(r) <= HUBER * NOISE else HUBER * NOISE / abs(r) for r in residuals]
        slopes = []
        for i in range(len(now)):
            moved = [v + (_DIFFERENCE if k == i else 0.0) for k, v in enumerate(now)]
            slopes.append(
                [
                    (error(row, moved) - r) / _DIFFERENCE
                    for row, r in zip(known, residuals, strict=True)
                ]
            )
        sums = [
            [
                sum(w * a * b for w, a, b in zip(weights, x, y, strict=True)) / NOISE**2
                for y in slopes
            ]
            for x in slopes
        ]
        down = [
            sum(w * a * r for w, a, r in zip(weights, x, residuals, strict=True)) / NOISE**2
            for x in slopes
        ]
        for i, spread in enumerate(SPREAD):
            sums[i][i] += 1 / spread**2
            down[i] += (now[i] - before[i]) / spread**2
        change = solve(sums, down)
        for _ in range(6):
            tried = [v - c for v, c in zip(now, change, strict=True)]
            found = [error(row, tried) for row in known]
            if loss(found, tried, before) <= loss(residuals, now, before):
                now, residuals = tried, found
                break
            change = [c / 2 for c in change]
        if max(map(abs, change)) < _DIFFERENCE:
            break
    return now


def loss(residuals: Sequence[float], now: Sequence[float], before: Sequence[float]) -> float:
    """Huber's loss and the prior's."""
    total = 0.0
    for r in residuals:
        size = abs(r) / NOISE
        total += size * size if size <= HUBER else 2 * HUBER * size - HUBER * HUBER
    parts = zip(now, before, SPREAD, strict=True)
    return total + sum(((a - b) / s) ** 2 for a, b, s in parts)


def leave_out(model: str) -> LeftOut:
    """Fits on all points of other models, or of other systems."""
    every = rows("serving_measured.csv")
    known = [row for row in every if model not in (row["model"], row["system"])]
    judged = [row for row in every if model in (row["model"], row["system"])] or every
    return judge(model, fit(known), judged)


def alone(model: str) -> LeftOut:
    """Fits on the points of one model only, and judges these."""
    own = [row for row in rows("serving_measured.csv") if row["model"] == model]
    return judge(f"all but {model}", fit(own), own)


def judge(label: str, logarithms: Sequence[float], judged: Sequence[Row]) -> LeftOut:
    """Of the constants with these logarithms."""
    ratios = [math.exp(error(row, logarithms)) for row in judged]
    errors = sorted(abs(ratio - 1) for ratio in ratios)
    measured = [float(row["tpot_ms"]) for row in judged]
    predicted = [ratio * value for ratio, value in zip(ratios, measured, strict=True)]
    return LeftOut(
        model=label,
        points=len(judged),
        median=statistics.median(errors),
        p90=errors[int(0.9 * len(errors))],
        rank=rank_correlation(predicted, measured),
        constants=tuple(map(math.exp, logarithms)),
    )


def saved() -> list[LeftOut]:
    """What the file holds."""
    with CSV.open(encoding="utf-8") as file:
        return [
            LeftOut(
                model=row["left_out"],
                points=int(row["points"]),
                median=float(row["median"]),
                p90=float(row["p90"]),
                rank=float(row["rank"]),
                constants=tuple(float(row[name]) for name in NAMES),
            )
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """Fits and writes."""
    with CSV.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["left_out", "points", "median", "p90", "rank", *NAMES])
        every = [leave_out(model) for model in (*CONFIGS, "h100_sxm", "nothing")]
        for found in (*every, alone(ALONE)):
            figures = (found.median, found.p90, found.rank, *found.constants)
            texts = [f"{value:.4g}" for value in figures]
            writer.writerow([found.model, found.points, *texts])
            sys.stdout.write(f"{found.model} {found.points} {' '.join(texts)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
