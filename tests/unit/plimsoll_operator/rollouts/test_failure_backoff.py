"""The same failure is put off for longer each time; anything else may be tried at once."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.rollouts.failure_backoff import Setbacks


@given(count=st.integers(1, 60), now=st.floats(0, 1e6))
def test_delays_double_up_to_the_limit(count: int, now: float) -> None:
    setbacks: Setbacks[str] = Setbacks(base=1.0, limit=60.0)
    delays = [setbacks.record("u", "s", "q", "no", now).due - now for _ in range(count)]
    wanted = [min(60.0, 2.0**failures) for failures in range(count)]
    assert all(abs(a - b) < 1e-6 for a, b in zip(delays, wanted, strict=True))


def test_another_question_has_no_setback_and_starts_anew() -> None:
    setbacks: Setbacks[str] = Setbacks(base=1.0, limit=60.0)
    for _ in range(5):
        setbacks.record("u", "s", {"replicas": 1}, "no", 0)
    known = setbacks.get("u", "s", {"replicas": 1})
    assert known is not None
    assert (known.answer, known.failures) == ("no", 5)
    assert setbacks.get("u", "s", {"replicas": 2}) is None
    assert setbacks.get("u", "t", {"replicas": 1}) is None
    assert setbacks.get("v", "s", {"replicas": 1}) is None
    assert setbacks.record("u", "s", {"replicas": 2}, "no", 0).due == 1.0


def test_success_and_the_end_of_the_owner_leave_nothing() -> None:
    setbacks: Setbacks[str] = Setbacks(base=1.0, limit=60.0)
    for subject in ("s", "t"):
        setbacks.record("u", subject, "q", "no", 0)
    setbacks.clear("u", "s")
    assert setbacks.get("u", "s", "q") is None
    assert setbacks.get("u", "t", "q") is not None
    setbacks.forget("u")
    assert setbacks.get("u", "t", "q") is None
    setbacks.record("u", "s", "q", "no", 0)
    setbacks.clear("u", "s")
    assert setbacks._owners == {}
