"""Minimum replicas by the clock on the wall."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plimsoll_operator.api.schedule import Day, Schedule
from plimsoll_operator.api.validate import InvalidSpecError, parse_spec
from plimsoll_operator.scaling.schedule import holds, in_force
from tests.unit.plimsoll_operator.samples import resource

OFFICE = {
    "name": "office",
    "days": ["Mon", "Tue", "Wed", "Thu", "Fri"],
    "start": "08:00",
    "end": "18:00",
    "timeZone": "Europe/Berlin",
    "minReplicas": 3,
}


def schedule(**changes: Any) -> Schedule:
    return Schedule.model_validate(OFFICE | changes)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-01-12T06:59:59", False),  # a Monday in winter: Berlin is an hour ahead
        ("2026-01-12T07:00:00", True),
        ("2026-01-12T16:59:59", True),
        ("2026-01-12T17:00:00", False),
        ("2026-01-11T12:00:00", False),  # Sunday
        ("2026-07-13T06:00:00", True),  # summer: two hours
        ("2026-07-13T16:00:00", False),
    ],
)
def test_office_hours_are_those_of_the_place(now: str, expected: bool) -> None:
    assert holds(schedule(), at(now)) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-01-10T21:59", False),  # Saturday
        ("2026-01-10T22:00", True),
        ("2026-01-11T05:59", True),  # the night that began on Saturday
        ("2026-01-11T06:00", False),
        ("2026-01-11T22:30", False),  # Sunday's own night does not begin
        ("2026-01-10T03:00", False),  # nor did Friday's
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(now: str, expected: bool) -> None:
    night = schedule(days=["Sat"], start="22:00", end="06:00", timeZone="UTC")
    assert holds(night, at(now)) is expected


minutes = st.integers(0, 24 * 60 - 1)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31))  # noqa: DTZ001 - made aware


@given(minutes, minutes, st.sets(st.sampled_from(Day)), moments)
@example(600, 600, {Day.MON}, datetime(2026, 1, 13, 9, 59))  # noqa: DTZ001
def test_as_by_a_list_of_all_its_times(
    start: int, end: int, days: set[Day], moment: datetime
) -> None:
    """Each day's own interval is written out, in a zone without changes of the clock."""
    now = moment.replace(tzinfo=UTC)
    found = schedule(
        days=[str(day) for day in days],
        start=f"{start // 60:02}:{start % 60:02}",
        end=f"{end // 60:02}:{end % 60:02}",
        timeZone="UTC",
    )
    lasts = (end - start) % (24 * 60) or 24 * 60
    inside = False
    for back in (0, 1):
        day: date = now.date() - timedelta(days=back)
        if not days or tuple(Day)[day.weekday()] in days:
            begin = datetime.combine(day, time(), UTC) + timedelta(minutes=start)
            inside |= begin <= now < begin + timedelta(minutes=lasts)
    assert holds(found, now) is inside


def test_of_several_the_most_holds_and_never_less_than_declared() -> None:
    always = {"start": "00:00", "end": "00:00", "timeZone": "UTC", "days": []}
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 9,
        "schedules": [
            {**OFFICE, **always, "name": "few", "minReplicas": 1},
            {**OFFICE, **always, "name": "some", "minReplicas": 4},
            {**OFFICE, **always, "name": "many", "minReplicas": 6},
            {**OFFICE, "minReplicas": 8},
        ],
    }
    found = resource(spec={"model": {"source": "builtin://tiny"}, "scaling": scaling})
    changed, name = in_force(found, datetime(2026, 1, 12, 12, tzinfo=ZoneInfo("Europe/Berlin")))
    assert changed.spec is not None
    assert (changed.spec.scaling.min_replicas, name) == (8, "office")
    changed, name = in_force(found, at("2026-01-11T12:00"))
    assert changed.spec is not None
    assert (changed.spec.scaling.min_replicas, name) == (6, "many")
    assert found.spec is not None
    assert found.spec.scaling.min_replicas == 2
    scaling["schedules"] = scaling["schedules"][:1]  # type: ignore[index]
    found = resource(spec={"model": {"source": "builtin://tiny"}, "scaling": scaling})
    assert in_force(found, at("2026-01-11T12:00")) == (found, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timeZone": "Europe/Bielefeld"}, "schedules[office].timeZone: 'Europe/Bielefeld'"),
        ({"timeZone": "Europe"}, "there is no such time zone"),
        ({"timeZone": "../etc/passwd"}, "must be the IANA name"),
        ({"start": "24:00"}, "must be a time of day"),
        ({"end": "8:00"}, "must be a time of day"),
        ({"days": ["Monday"]}, "schedules[0].days[0]"),
        ({"minReplicas": 5}, "minReplicas of a schedule must be at most maxReplicas"),
    ],
)
def test_what_is_no_schedule_is_told(changes: dict[str, Any], said: str) -> None:
    scaling = {"maxReplicas": 4, "schedules": [OFFICE | changes]}
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec({"model": {"source": "builtin://tiny"}, "scaling": scaling})
    assert said in str(caught.value)
