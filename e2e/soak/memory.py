"""Memory of processes, and how much it has grown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ALL = "all"


@dataclass(frozen=True)
class Reading:
    """Bytes of one process: resident, and of those what no file backs."""

    resident: int
    anonymous: int


@dataclass(frozen=True)
class Sample:
    """Readings by process, `seconds` after the start."""

    seconds: float
    processes: Mapping[str, Reading]

    def resident(self, name: str) -> int:
        """Resident bytes of one process, or of `ALL`; 0 when it did not run."""
        if name == ALL:
            return sum(each.resident for each in self.processes.values())
        found = self.processes.get(name)
        return found.resident if found else 0


def read(pid: int, proc: Path = Path("/proc")) -> Reading:
    """Raises OSError when the process is gone."""
    fields = {}
    for line in (proc / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, kibibytes = line.split()[:2]
        fields[name] = int(kibibytes) * 1024
    return Reading(fields["Rss:"], fields["Anonymous:"])


def medians(samples: Sequence[Sample], name: str, parts: int) -> list[float]:
    """Median resident bytes in each of so many equal parts of the time.

    Medians, so that neither a short peak nor a quiet moment decides. Raises ValueError when a part
    has no sample.
    """
    end = samples[-1].seconds if samples else 0.0
    grouped: list[list[int]] = [[] for _ in range(parts)]
    for each in samples:
        grouped[min(parts - 1, int(each.seconds / end * parts)) if end else 0].append(
            each.resident(name)
        )
    if not all(grouped):
        raise ValueError(f"{len(samples)} samples are too few for {parts} parts of {end:.0f} s")
    return [statistics.median(part) for part in grouped]


def growth(parts: Sequence[float]) -> float:
    """From the second part, as the first is the warm-up, to the last; a share of the second."""
    return parts[-1] / parts[1] - 1
