"""Writes `docs/autoscaling.md` and draws `docs/autoscaling.svg`: laws of scaling on traces.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.autoscaling`.
With `--again` all laws are replayed first, some ten minutes on two processes; with `--ours` only
the operator's own. Both write `results.csv` beside this.
"""

import sys
from multiprocessing import Pool

from docs.plots.autoscaling.cases import case, case_names
from docs.plots.autoscaling.page import PAGE, SVG, page, picture
from docs.plots.autoscaling.results import Row, row_of, save, saved
from docs.plots.autoscaling.sweep import OURS, entries


def replayed(name: str) -> list[Row]:
    """All laws on a case."""
    planned = case(name)
    return [row_of(planned, entry) for entry in entries(planned)]


def only_ours(name: str) -> list[Row]:
    """The operator's law on a case."""
    planned = case(name)
    return [row_of(planned, entry) for entry in entries(planned) if entry.law == OURS]


def main(argv: list[str]) -> None:
    """Writes all."""
    if argv:
        rows = [] if "--again" in argv else [row for row in saved() if row.law != OURS]
        with Pool(2) as pool:
            replay = replayed if "--again" in argv else only_ours
            for found in pool.imap(replay, case_names(), chunksize=1):
                rows += found
        order = {name: number for number, name in enumerate(case_names())}
        save(sorted(rows, key=lambda row: (order[row.case], row.law != OURS)))
    PAGE.write_text(page(saved()), encoding="utf-8")
    SVG.write_text(picture(saved()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
