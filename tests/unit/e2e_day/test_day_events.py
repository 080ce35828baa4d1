"""What goes wrong follows from a seed, and edits are taken back whole."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.day.arrivals import parse_lengths
from e2e.day.deployment import deployment
from e2e.day.disturbance import no_room
from e2e.day.edits import edit
from e2e.day.run import DATA
from e2e.day.schedule import Kind, schedule
from plimsoll_operator.api.validate import parse_document

EDITS = [
    Kind.MAX_REPLICAS,
    Kind.OBJECTIVE,
    Kind.LIMITS,
    Kind.CONTEXT,
    Kind.ANNOTATION,
    Kind.KILLED_IN_ROLLOUT,
    Kind.PAUSE,
]
KILLS = {
    Kind.POD_DELETED,
    Kind.POD_FORCED,
    Kind.ENGINE_KILLED,
    Kind.OPERATOR_KILLED,
    Kind.OPERATOR_AWAY,
}


def merged(into: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396)."""
    found = deepcopy(into)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            old = found.get(key)
            is_object = isinstance(value, dict)
            found[key] = merged(old if isinstance(old, dict) else {}, value) if is_object else value
    return found


def without_empty(spec: Any) -> Any:
    if not isinstance(spec, dict):
        return spec
    found = {key: without_empty(value) for key, value in spec.items()}
    return {key: value for key, value in found.items() if value != {}}


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), hours=st.sampled_from([0.2, 1.0, 2.0]))
def test_events_come_one_after_another(seed: int, hours: float) -> None:
    seconds = 3600 * hours
    found = schedule(seconds, 60.0, seed)
    assert found == schedule(seconds, 60.0, seed)
    times = [event.at for event in found]
    assert times == sorted(times)
    assert len(found) == int(0.92 * seconds / 60)
    assert times[0] >= 0.04 * seconds - 0.1
    assert times[-1] <= 0.96 * seconds
    assert all(0 < event.hold < 60 for event in found)


def test_every_kind_comes_before_any_comes_again() -> None:
    found = [event.kind for event in schedule(7200, 120, 1)]
    assert set(found[:12]) == set(found[12:24]) == set(Kind)


def test_other_seeds_give_other_days() -> None:
    days = {schedule(7200, 120, seed) for seed in range(5)}
    assert len(days) == 5


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_one_that_the_operator_takes_and_is_taken_back_whole(kind: Kind) -> None:
    lengths = parse_lengths((DATA / "azure_conv_2023_head.jsonl").read_text())
    before = deployment(2.5, 600.0, lengths)
    found = edit(kind, 7, before["spec"])
    edited = {**before, "spec": merged(before["spec"], found.there)}
    assert edited != before
    parse_document(edited)
    after = merged(edited["spec"], found.back)
    if kind is Kind.PAUSE:
        after = merged(after, {"rollout": {"paused": None}})
    assert without_empty(after) == before["spec"]


def test_kills_are_no_edits() -> None:
    spec = deployment(2.5, 600.0, parse_lengths('{"prompt_tokens":1,"output_tokens":1}'))["spec"]
    assert set(EDITS) | KILLS == set(Kind)
    with pytest.raises(KeyError):
        edit(Kind.POD_DELETED, 1, spec)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("Unschedulable", "1 replica cannot be scheduled"), ("RollingOut", "")],
)
def test_an_edit_without_room_is_told_from_one_that_is_stuck(reason: str, told: str) -> None:
    condition = {"type": "Ready", "reason": reason, "message": "1 replica cannot be scheduled"}
    assert no_room({"status": {"conditions": [condition]}}) == told
    assert no_room({}) == ""
