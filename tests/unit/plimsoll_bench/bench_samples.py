"""Results made up for tests."""

from array import array
from collections.abc import Sequence

from plimsoll_bench.figures import ClientFigures, Objectives, figures
from plimsoll_bench.host_use import HostUse
from plimsoll_bench.record import Record
from plimsoll_bench.result import Result, Run


def record(
    due: float = 0.0,
    first: float = 0.1,
    gap: float = 0.01,
    tokens: int = 11,
    *,
    late: float = 0.0,
    failure: str = "",
    prompt: int = 100,
    digest: str = "ids:a",
) -> Record:
    """A request whose first token comes `first` seconds after it was due."""
    times = array("d", [due + first + gap * i for i in range(tokens)])
    return Record(
        due,
        due + late,
        times[-1] if tokens else due + first,
        tokens,
        prompt,
        tokens,
        times,
        array("l", [1] * tokens),
        digest,
        failure,
        "it broke" if failure else "",
    )


def run(
    records: Sequence[Record],
    workload: str = "W1",
    repetition: int = 1,
    *,
    spec: str = "s",
    host: HostUse | None = None,
    client: ClientFigures | None = None,
    objectives: Objectives | None = None,
    rate: float | None = None,
) -> Run:
    """A run of these."""
    return Run(
        workload,
        repetition,
        spec,
        "at-once",
        figures(records, objectives or Objectives()),
        client or ClientFigures(0.0, 0.0, 0.1),
        host,
        tuple("" if each.failure else each.digest for each in records),
        rate,
        reasons=tuple(each.reason for each in records if each.failure),
    )


def result(label: str, runs: Sequence[Run]) -> Result:
    """A result of these."""
    return Result(
        label,
        "http://127.0.0.1:1",
        "m",
        "/v1/completions",
        "2026-01-01T00:00:00Z",
        {"plimsoll": "0"},
        Objectives(),
        tuple(runs),
    )
