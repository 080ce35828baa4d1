"""Fitted parameters as fields of the API and back: `step_seconds` is `stepOverhead`, `compute` is
`computeEfficiency`.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from plimsoll_operator.api.accelerator import Calibration, Frontend
from plimsoll_operator.api.quantity import parse_duration, parse_quantity
from plimsoll_operator.api.status import MeasuredCalibration, MeasuredFrontend
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.performance.frontend_time import FrontendTime

_SECONDS, _OVERHEAD, _EFFICIENCY = "_seconds", "_overhead", "_efficiency"


def field_of(parameter: str, value: float) -> tuple[str, str]:
    """Name and text of the field for a parameter; seconds or a share."""
    if parameter.endswith(_SECONDS):
        return parameter.removesuffix(_SECONDS) + _OVERHEAD, decimal(value * 1e3) + "ms"
    return parameter + _EFFICIENCY, decimal(value)


def calibrated(base: Accelerator, told: Calibration | MeasuredCalibration) -> Accelerator:
    """`base` with all that a calibration gives, whoever measured it."""
    times: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    for field, value in told.model_dump(exclude_none=True).items():
        if field.endswith(_OVERHEAD):
            times[field.removesuffix(_OVERHEAD) + _SECONDS] = parse_duration(value)
        elif field.endswith(_EFFICIENCY):
            shares[field.removesuffix(_EFFICIENCY)] = float(parse_quantity(value))
    if told.error is not None:
        shares["error"] = float(told.error)
    if told.frontend is not None:
        times["frontend"] = frontend_time(told.frontend)
    return replace(base, efficiency=replace(base.efficiency, **shares), **times)


def frontend_fields(time: FrontendTime) -> dict[str, str]:
    """The seconds that can be measured, by the names of the API's fields."""
    fields = {
        "request": time.request,
        "promptToken": time.prompt_token,
        "message": time.message,
        "event": time.event,
        "token": time.token,
    }
    return {name: decimal(round(value * 1e3, 9)) + "ms" for name, value in fields.items()}


def frontend_time(told: Frontend | MeasuredFrontend) -> FrontendTime:
    """The same from the API's fields."""
    return FrontendTime(
        request=parse_duration(told.request),
        prompt_token=parse_duration(told.prompt_token),
        message=parse_duration(told.message),
        event=parse_duration(told.event),
        token=parse_duration(told.token),
        end=0.0,
        latency=0.0,
    )


def decimal(value: float) -> str:
    """To three digits, without exponent."""
    return format(Decimal(f"{value:.3g}"), "f")
