"""Pure: how traffic rises and falls over a recorded day."""

import csv
import io
from dataclasses import dataclass
from itertools import pairwise


class ShapeError(ValueError):
    """That is no day."""


@dataclass(frozen=True)
class Shape:
    """Rates of windows of equal length that make up a day, in shares of the largest."""

    windows: tuple[float, ...]

    def at(self, share: float) -> float:
        """At a share of the day in [0, 1), between the middles of windows; the day is a ring."""
        place = share * len(self.windows) - 0.5
        before = int(place // 1)
        part = place - before
        count = len(self.windows)
        return (1 - part) * self.windows[before % count] + part * self.windows[(before + 1) % count]

    @property
    def mean(self) -> float:
        """Over the day, in shares of the largest."""
        return sum(self.windows) / len(self.windows)


def parse_shape(text: str) -> Shape:
    """From CSV with the columns `second` and `requests_per_second`. Raises ShapeError."""
    try:
        rows = [
            (float(row["second"]), float(row["requests_per_second"]))
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ShapeError(
            f"not a table of `second` and `requests_per_second`: {type(error).__name__}: {error}"
        ) from error
    rates = [rate for _, rate in rows]
    steps = {later - earlier for (earlier, _), (later, _) in pairwise(rows)}
    if len(steps) != 1 or min(steps) <= 0:
        raise ShapeError(f"windows must be equally long, and two at least: {sorted(steps)}")
    if min(rates) < 0 or not 0 < max(rates) < float("inf"):
        raise ShapeError(
            f"rates must be at least 0, and one above: from {min(rates)} to {max(rates)}"
        )
    return Shape(tuple(rate / max(rates) for rate in rates))
