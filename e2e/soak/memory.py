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


@dataclass(frozen=True)
class Growth:
    """Median resident bytes of a first and of a last stretch of time."""

    first: float
    last: float

    @property
    def share(self) -> float:
        """Growth as a share of the first."""
        return self.last / self.first - 1


def read(pid: int, proc: Path = Path("/proc")) -> Reading:
    """Raises OSError when the process is gone."""
    fields = {}
    for line in (proc / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, kibibytes = line.split()[:2]
        fields[name] = int(kibibytes) * 1024
    return Reading(fields["Rss:"], fields["Anonymous:"])


def growth(samples: Sequence[Sample], name: str, warm_up: float, window: float) -> Growth:
    """From the `window` seconds after `warm_up` to the last `window` seconds.

    Medians, so that neither a short peak nor a quiet moment decides. Raises ValueError when a
    stretch has no sample.
    """
    end = samples[-1].seconds if samples else 0.0
    first = [each.resident(name) for each in samples if 0 <= each.seconds - warm_up < window]
    last = [each.resident(name) for each in samples if each.seconds > end - window]
    if not first or not last:
        raise ValueError(
            f"{len(samples)} samples until {end:.0f} s are too few for a warm-up of {warm_up:.0f} s"
        )
    return Growth(statistics.median(first), statistics.median(last))
