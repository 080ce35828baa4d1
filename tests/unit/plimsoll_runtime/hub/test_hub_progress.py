"""Lines about a download say what a person wants to know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.hub.progress import Progress, duration, size


def test_how_far_how_fast_and_how_long_still() -> None:
    progress = Progress(total=16 * 2**30, before=4 * 2**30)
    assert progress.line(4 * 2**30, 0) == "4.0 GiB of 16.0 GiB (25 %)"
    said = progress.line(10 * 2**30, 60)
    assert said == "10.0 GiB of 16.0 GiB (62 %), 102.4 MiB/s, about 1 min left"


@given(st.integers(0, 2**45), st.integers(0, 2**45), st.floats(0, 1e6))
def test_there_is_always_a_line(total: int, done: int, seconds: float) -> None:
    assert " of " in Progress(total).line(done, seconds)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (2**20, "1.0 MiB"), (15 * 2**29, "7.5 GiB")],
)
def test_sizes(count: int, said: str) -> None:
    assert size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
