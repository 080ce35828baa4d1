"""The queue keeps requests in order of urgency, whatever happens to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.queue import RankedQueue, rank
from plimsoll_runtime.core.request import Request, SamplingParams


def request(sequence: int, arrival: float = 0.0, priority: int = 0) -> Request:
    made = Request(f"r{sequence}", [1], SamplingParams(max_tokens=1), arrival, priority)
    made.sequence = sequence
    return made


def test_smaller_priority_then_earlier_arrival_then_sequence() -> None:
    queue = RankedQueue()
    late, early, urgent, tie = (
        request(1, 2.0),
        request(2, 1.0),
        request(3, 9.0, -1),
        request(4, 1.0),
    )
    for item in (late, tie, early, urgent):
        queue.add(item)
    assert list(queue) == [urgent, early, tie, late]
    assert queue.pop_first() is urgent
    assert queue.pop_last() is late
    assert queue[0] is early


def test_removing_what_is_not_there_is_an_error() -> None:
    queue = RankedQueue()
    queue.add(request(1))
    with pytest.raises(KeyError):
        queue.remove(request(1))
    with pytest.raises(KeyError):
        queue.remove(request(2))
    assert len(queue) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(-2, 2), st.integers(0, 5)), max_size=50))
def test_always_sorted(actions: list[tuple[bool, int, int]]) -> None:
    queue = RankedQueue()
    inside: list[Request] = []
    for sequence, (adding, priority, number) in enumerate(actions):
        if adding or not inside:
            inside.append(request(sequence, float(number), priority))
            queue.add(inside[-1])
        else:
            queue.remove(inside.pop(number % len(inside)))
        assert list(queue) == sorted(inside, key=rank)
        assert len(queue) == len(inside)
