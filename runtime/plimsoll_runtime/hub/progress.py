"""How far a download is, in lines for a log."""

from dataclasses import dataclass

_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
MOMENT = 0.001
"""Seconds, after fewer of which no rate is told."""


@dataclass(frozen=True)
class Progress:
    """Of a download of `total` bytes, of which `before` were here when it began."""

    total: int
    before: int = 0

    def line(self, done: int, seconds: float) -> str:
        """What to say when `done` bytes are here, `seconds` after the beginning."""
        share = 100 * done // self.total if self.total else 100
        said = f"{size(done)} of {size(self.total)} ({share} %)"
        rate = (done - self.before) / seconds if seconds >= MOMENT else 0.0
        if rate <= 0:
            return said
        left = max(0, self.total - done) / rate
        return f"{said}, {size(round(rate))}/s, about {duration(left)} left"


def size(count: int) -> str:
    """Bytes for a person."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """Such as `40 s`, `5 min` and `2 h 5 min`."""
    if seconds < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
