"""The fewest replicas at a time: minReplicas, or what a schedule asks for then. Pure."""

from dataclasses import replace
from datetime import datetime, time, timedelta

from plimsoll_operator.api.schedule import Day, Schedule
from plimsoll_operator.api.time_zone import zone
from plimsoll_operator.resource import Resource

_DAYS = tuple(Day)
"""In the order of `datetime.weekday`."""


def holds(schedule: Schedule, now: datetime) -> bool:
    """Whether it is in force at `now`, which knows its time zone.

    By the clock on the wall of its own zone: on the day of a change to summer time it is an hour
    shorter or longer.
    """
    there = zone(schedule.time_zone)
    if there is None:
        return False
    local = now.astimezone(there)
    start, end = time.fromisoformat(schedule.start), time.fromisoformat(schedule.end)
    clock = local.time()
    if start < end:
        return start <= clock < end and _begins(schedule, local)
    if clock >= start:
        return _begins(schedule, local)
    return clock < end and _begins(schedule, local - timedelta(days=1))


def in_force(resource: Resource, now: datetime) -> tuple[Resource, str]:
    """The resource with the minimum that holds at `now`, and the schedule that asks for it, if one
    does."""
    spec = resource.spec
    if spec is None:
        return resource, ""
    most = max(
        (each for each in spec.scaling.schedules if holds(each, now)),
        key=lambda each: each.min_replicas,
        default=None,
    )
    if most is None or most.min_replicas <= spec.scaling.min_replicas:
        return resource, ""
    scaling = spec.scaling.model_copy(update={"min_replicas": most.min_replicas})
    changed = spec.model_copy(update={"scaling": scaling})
    return replace(resource, spec=changed), most.name


def _begins(schedule: Schedule, day: datetime) -> bool:
    return not schedule.days or _DAYS[day.weekday()] in schedule.days
