"""Pure: what the run comes to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from e2e.day.observer import Sample
from e2e.day.request import Objectives, Request

LONGEST_GAP = 30.0
"""Between two looks; what is longer counts so much, and no more."""


@dataclass(frozen=True)
class Window:
    """Requests that were due within `width` seconds from `at`, and how many kept the objectives."""

    at: float
    requests: int
    kept: int
    failed: int


def windows(
    requests: Iterable[Request], objectives: Objectives, width: float, seconds: float
) -> Iterator[Window]:
    """One after another until `seconds`, empty ones too."""
    found: dict[int, list[Request]] = {}
    for request in requests:
        found.setdefault(int(request.due / width), []).append(request)
    for number in range(round(seconds / width + 0.499)):
        of = found.get(number, [])
        kept = sum(objectives.hold(request) for request in of)
        failed = sum(bool(request.failure) for request in of)
        yield Window(number * width, len(of), kept, failed)


def replica_seconds(samples: Sequence[Sample], seconds: float) -> float:
    """Time that pods existed, from being asked for to being gone, by looks at them; from the start
    until `seconds`."""
    total = 0.0
    for number, sample in enumerate(samples):
        begin = max(0.0, sample.at) if number else 0.0
        later = samples[number + 1].at if number + 1 < len(samples) else seconds
        total += sample.pods * max(0.0, min(later, seconds, begin + LONGEST_GAP) - begin)
    return total


def changes(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Those that differ from the one before, and the last."""
    counts = None
    for number, sample in enumerate(samples):
        now = (sample.pods, sample.ready, sample.wanted)
        if now != counts or number + 1 == len(samples):
            yield sample
        counts = now


def percentile(values: Iterable[float], share: float) -> float | None:
    """Nearest rank; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
