"""`LLMDeployment.spec.scaling.schedules`: minimum replicas by time of day."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from plimsoll_operator.api.base import ApiModel
from plimsoll_operator.api.formats import NAMESPACE, TIME_OF_DAY, TIME_ZONE

Label = Annotated[str, NAMESPACE.field()]
TimeOfDay = Annotated[str, TIME_OF_DAY.field()]
TimeZone = Annotated[str, TIME_ZONE.field()]


class Day(StrEnum):
    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class Schedule(ApiModel):
    """A time of day, on some days, with more replicas at least. Where several hold, the most."""

    name: Label = Field(description="What it is called, in messages too.")
    days: list[Day] = Field(
        default_factory=list,
        description="On which days it begins. Empty: on all.",
        max_length=7,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    start: TimeOfDay = Field(description="When it begins, such as 08:00.")
    end: TimeOfDay = Field(
        description="When it ends, such as 18:00; on the next day where that is not after start."
    )
    time_zone: TimeZone = Field(
        default="UTC", description="Time zone of both, by its IANA name, such as Europe/Berlin."
    )
    min_replicas: int = Field(description="Fewest replicas meanwhile.", ge=1, le=1000)
