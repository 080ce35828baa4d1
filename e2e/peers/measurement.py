"""One engine with one model in one round, and the file that keeps it."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from e2e.peers.correctness import Agreement
from e2e.peers.engine import Precision
from e2e.peers.environments import CACHE
from e2e.peers.roofline import Roofline
from plimsoll_bench.result import Result


@dataclass(frozen=True)
class Turn:
    """Whose turn it is: of the `round`th round, counted from 1."""

    round: int
    model: str
    engine: str


@dataclass(frozen=True)
class Measurement:
    """What came of a turn, which took `seconds` in all and ended at `ended` (UTC).

    `result` is None where the engine failed, and `error` says why. `first_token_seconds` are from
    the start of its process, None where it had been running; `first_start_seconds` are those of
    the start just before, when its files may have been on the disk only, None where there was none.
    `peak_bytes` is the most memory of its processes, as `Server` counts it. `commit` is ours,
    whatever the engine.
    """

    turn: Turn
    version: str
    precision: Precision
    note: str
    commit: str
    ended: str
    seconds: float
    first_token_seconds: float | None = None
    peak_bytes: int = 0
    result: Result | None = None
    roofline: Roofline | None = None
    agreement: Agreement | None = None
    error: str = ""
    first_start_seconds: float | None = None

    def has(self, workloads: set[str]) -> bool:
        """Whether all of these were run."""
        found = {run.workload for run in self.result.runs} if self.result else set()
        return workloads <= found


_ADAPTER = TypeAdapter(Measurement)


class Sitting:
    """The measurements of a name, a file each, so that what is cut off can go on later."""

    def __init__(self, name: str, cache: Path = CACHE) -> None:
        self.folder = cache / "sittings" / name

    def keep(self, found: Measurement) -> None:
        """Writes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        turn = found.turn
        file = self.folder / f"{turn.round:03}-{turn.model}-{turn.engine}.json"
        new = file.with_suffix(".new")
        new.write_bytes(_ADAPTER.dump_json(found, indent=1))
        new.rename(file)

    def kept(self) -> list[Measurement]:
        """All, by turn. Raises ValueError for a file that is none of these."""
        found = []
        for file in sorted(self.folder.glob("*-*-*.json")):
            try:
                found.append(_ADAPTER.validate_json(file.read_bytes()))
            except ValidationError as error:
                raise ValueError(f"{file}: no measurement of this version: delete it") from error
        return found
