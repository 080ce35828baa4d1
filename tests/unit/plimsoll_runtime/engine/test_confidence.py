"""Guesses that come true are followed by more, wrong ones by fewer and then by pauses."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.engine.confidence import MAX_PAUSE, Confidence

MOST = 8


def step(confidence: Confidence, right: int) -> int:
    """One step in which up to `right` guesses come true; how many there were."""
    count = confidence.allowed(MOST)
    confidence.guessed([7] * count)
    kept = min(right, count)
    confidence.came([7] * kept + [9])
    return count


def test_at_first_all_that_may_be() -> None:
    assert Confidence().allowed(MOST) == MOST
    assert Confidence().allowed(0) == 0


def test_right_ones_double_and_wrong_ones_cut() -> None:
    confidence = Confidence()
    assert [step(confidence, right) for right in (8, 1, 2, 3, 8, 8)] == [8, 8, 2, 4, 4, 8]


def test_after_wrong_ones_come_pauses_that_grow_until_one_is_right() -> None:
    confidence = Confidence()
    counts = [step(confidence, 0) for _ in range(60)]
    assert counts[:2] == [8, 1]
    gaps = "".join(map(str, counts[1:])).split("1")[1:-1]
    assert [len(gap) for gap in gaps] == [1, 2, 4, 8, 16, 16]
    assert max(map(len, gaps)) == MAX_PAUSE
    while not step(confidence, 1):
        pass
    assert [step(confidence, 0) for _ in range(4)] == [2, 1, 0, 1]


@given(st.lists(st.integers(0, MOST), max_size=60))
def test_it_never_gives_up_for_long_nor_asks_for_more_than_may_be(rights: list[int]) -> None:
    confidence = Confidence()
    counts = [step(confidence, right) for right in rights]
    assert all(0 <= count <= MOST for count in counts)
    assert "0" * (MAX_PAUSE + 1) not in "".join("0" if count == 0 else "x" for count in counts)


def test_steps_without_a_guess_tell_nothing() -> None:
    confidence = Confidence()
    confidence.guessed([])
    confidence.came([1, 2, 3])
    confidence.came([])
    assert confidence.allowed(MOST) == MOST
