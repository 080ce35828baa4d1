"""Conditions keep their time while their status stays."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.status.conditions import (
    AUTOSCALING_ACTIVE,
    MAX_MESSAGE,
    ORDER,
    READY,
    Finding,
    get_condition,
    set_condition,
)

T1, T2 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def ready(status: bool | None, reason: str = "Because") -> Finding:
    return Finding(READY, status=status, reason=reason, message="m")


def test_time_moves_only_with_the_status() -> None:
    conditions = set_condition([], ready(False), 1, T1)
    assert conditions[0].last_transition_time == T1
    conditions = set_condition(conditions, ready(False, "Other"), 2, T2)
    assert (conditions[0].last_transition_time, conditions[0].reason) == (T1, "Other")
    assert conditions[0].observed_generation == 2
    conditions = set_condition(conditions, ready(True), 2, T2)
    assert conditions[0].last_transition_time == T2


def test_unknown_is_a_status_of_its_own() -> None:
    conditions = set_condition([], ready(None), 1, T1)
    assert conditions[0].status == "Unknown"
    assert set_condition(conditions, ready(False), 1, T2)[0].last_transition_time == T2


@given(st.permutations([*ORDER, "Other"]))
def test_order_does_not_depend_on_what_came_first(kinds: list[str]) -> None:
    conditions = []
    for kind in kinds:
        finding = Finding(kind, status=True, reason="R", message="")
        conditions = set_condition(conditions, finding, 1, T1)
    assert [condition.type for condition in conditions] == [*ORDER, "Other"]


def test_message_is_bounded() -> None:
    finding = Finding(READY, status=True, reason="R", message="x" * 9000)
    (condition,) = set_condition([], finding, 1, T1)
    assert len(condition.message) == MAX_MESSAGE


def test_get_condition() -> None:
    conditions = set_condition([], ready(True), 1, T1)
    assert get_condition(conditions, READY) is conditions[0]
    assert get_condition(conditions, AUTOSCALING_ACTIVE) is None
