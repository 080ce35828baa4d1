"""What came of every law on every case, as a file, since it takes minutes to compute."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from docs.plots.autoscaling.backtest import backtest
from docs.plots.autoscaling.cases import Planned
from docs.plots.autoscaling.sweep import Entry

CSV = Path(__file__).with_name("results.csv")


@dataclass(frozen=True)
class Row:
    """A law on a case. Shares are of requests; `mean_gpus` are GPU seconds over the case's."""

    case: str
    law: str
    parameters: str
    is_documented: bool
    attainment: float
    ttft_kept: float
    tpot_kept: float
    gpu_seconds: float
    mean_gpus: float
    flaps: int
    changes: int


def row_of(planned: Planned, entry: Entry) -> Row:
    """Computes one."""
    found = backtest(planned.case, entry.make())
    return Row(
        planned.name,
        entry.law,
        entry.parameters,
        entry.is_documented,
        round(found.attainment, 4),
        round(found.ttft_kept, 4),
        round(found.tpot_kept, 4),
        round(found.gpu_seconds),
        round(found.gpu_seconds / planned.case.seconds, 3),
        found.flaps,
        found.changes,
    )


def save(rows: Iterable[Row]) -> None:
    """Writes the file."""
    with CSV.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def saved() -> list[Row]:
    """Reads it."""
    with CSV.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                row["case"],
                row["law"],
                row["parameters"],
                row["is_documented"] == "True",
                float(row["attainment"]),
                float(row["ttft_kept"]),
                float(row["tpot_kept"]),
                float(row["gpu_seconds"]),
                float(row["mean_gpus"]),
                int(row["flaps"]),
                int(row["changes"]),
            )
            for row in csv.DictReader(file)
        ]
