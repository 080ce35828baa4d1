"""What a bench has found, and the same as JSON."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from plimsoll_bench.figures import ClientFigures, Figures, Objectives
from plimsoll_bench.host_use import HostUse

FORMAT = "plimsoll-bench/1"
LARGEST_FILE = 256 * 2**20


class ResultError(ValueError):
    """A file is no result; one line that names it."""


@dataclass(frozen=True)
class Run:
    """One load, sent once. `spec` is equal for repetitions of a workload, `answers` are digests of
    the answers in the order of the requests, empty where one failed."""

    workload: str
    repetition: int
    spec: str
    arrivals: str
    figures: Figures
    client: ClientFigures
    host: HostUse | None
    answers: tuple[str, ...]
    rate: float | None = None
    concurrency: int | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ramp:
    """Runs by rising rate. `knee` is where latency begins to grow faster than load, `sustained` the
    highest rate up to which 95 of 100 requests keep each objective; None where there is none."""

    runs: tuple[Run, ...]
    knee: float | None
    sustained: float | None


@dataclass(frozen=True)
class Result:
    """All of it. `label` is what the server is called in comparisons."""

    label: str
    url: str
    model: str
    dialect: str
    made: str
    versions: dict[str, str]
    objectives: Objectives
    runs: tuple[Run, ...] = ()
    ramp: Ramp | None = None
    machine: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT


_ADAPTER = TypeAdapter(Result)


def to_json(result: Result) -> str:
    """As a document that `from_json` reads."""
    return _ADAPTER.dump_json(result, indent=1).decode() + "\n"


def from_json(text: str | bytes, origin: str) -> Result:
    """Raises ResultError."""
    try:
        found = _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ResultError(
            f"{origin}: no result of `plimsoll bench`: {where or 'the file'}: {first['msg']}; "
            "give a file that its --save wrote"
        ) from error
    if found.format != FORMAT:
        raise ResultError(f"{origin}: format {found.format!r}: this version reads {FORMAT!r}")
    return found


def load(path: Path) -> Result:
    """Reads a file. Raises ResultError."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > LARGEST_FILE:
        raise ResultError(f"{path}: more than {LARGEST_FILE} bytes")
    return from_json(text, str(path))
