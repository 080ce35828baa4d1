"""Fitted parameters as fields of the API and back: `step_seconds` is `stepOverhead`, `compute` is
`computeEfficiency`.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from plimsoll_operator.api.accelerator import Calibration
from plimsoll_operator.api.quantity import parse_duration, parse_quantity
from plimsoll_operator.api.status import MeasuredCalibration
from plimsoll_planner.accelerator import Accelerator

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
    return replace(base, efficiency=replace(base.efficiency, **shares), **times)


def decimal(value: float) -> str:
    """To three digits, without exponent."""
    return format(Decimal(f"{value:.3g}"), "f")
