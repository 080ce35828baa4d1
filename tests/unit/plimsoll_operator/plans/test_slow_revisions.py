"""Which revisions are known to be slower than predicted."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.api.status import Condition
from plimsoll_operator.plans.drift import AS_PLANNED, DIFFERS, SLOWER
from plimsoll_operator.plans.slow_revisions import MOST, drifted
from plimsoll_operator.status.conditions import PLAN_DRIFTED

NAMES = [f"chat-{number}" for number in range(14)]


def said(status: str, reason: str) -> Condition:
    return Condition(
        type=PLAN_DRIFTED,
        status=status,
        reason=reason,
        message="",
        last_transition_time="2026-01-31T12:00:00Z",
        observed_generation=1,
    )


SLOW, OTHER = said("True", SLOWER), said("True", DIFFERS)
WELL, UNKNOWN = said("False", AS_PLANNED), said("Unknown", "NotMeasured")


def test_only_slowness_counts_until_it_is_over() -> None:
    kept = {"a", "b"}
    assert drifted([], "a", None, kept) == drifted([], "a", OTHER, kept) == []
    known = drifted([], "a", SLOW, kept)
    assert known == drifted(known, "a", SLOW, kept) == drifted(known, "b", WELL, kept) == ["a"]
    assert drifted(known, "a", UNKNOWN, kept) == ["a"]
    assert drifted(known, "a", WELL, kept) == drifted(known, "a", OTHER, kept) == []
    assert drifted(known, "b", None, {"b"}) == []


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([None, SLOW, OTHER, WELL, UNKNOWN])))
)
def test_the_list_stays_short_and_says_each_once(
    looks: list[tuple[str, Condition | None]],
) -> None:
    known: list[str] = []
    for name, condition in looks:
        known = drifted(known, name, condition, set(NAMES))
        assert len(known) <= MOST
        assert len(set(known)) == len(known)
        assert (name in known) or condition is not SLOW
