"""A process' counters, and what it did between two looks at them."""

import pytest

from plimsoll_planner.calibration.frontend_fit import WorkTime
from plimsoll_planner.calibration.frontend_work import Look, Work, stretches
from tests.unit.plimsoll_planner.worked import looked, worked

TRUE = WorkTime(2e-3, 2e-6, 1e-4, 1e-4, 5e-5, 0.01)


def test_stretches_are_what_is_between_looks() -> None:
    work = worked(TRUE, count=30)
    looks = looked(work)
    again = stretches([*looks[10:], *looks[:20]])
    assert len(again) == 30
    for found, put in zip(again, work, strict=True):
        assert found == pytest.approx(put)
    assert stretches(looks[:1]) == []


def test_a_process_that_began_anew_and_a_clock_that_stands_are_left_out() -> None:
    first = Look(1.0, 1.0, 5, 50, 9, 9, 9)
    anew = Look(2.0, 0.5, 0, 0, 0, 0, 0)
    still = Look(2.0, 0.6, 1, 1, 1, 1, 1)
    mad = Look(3.0, 5000.0, 2, 2, 2, 2, 2)
    assert stretches([first, anew, still, mad]) == []


@pytest.mark.parametrize(
    ("requests", "tokens", "busy"), [(0, 0, False), (1, 0, True), (0, 1, True)]
)
def test_it_is_busy_while_anything_is_asked_or_answered(
    requests: int, tokens: int, busy: bool
) -> None:
    assert Work(requests, 0, 5, 0, tokens, 1.0, 0.1).is_busy == busy
