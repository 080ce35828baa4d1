"""What a calibration says, as text and as an Accelerator resource."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from plimsoll_planner.calibration import (
    BANDWIDTH,
    COMPUTE,
    PARAMETERS,
    SEQUENCE,
    STEP,
    Calibration,
)
from plimsoll_planner.performance import CPU_BANDWIDTH_EFFICIENCY, CPU_COMPUTE_EFFICIENCY
from plimsoll_planner.shape import Shape

API_VERSION = "plimsoll.dev/v1alpha1"
_TITLES = {
    COMPUTE: "share of peak compute",
    BANDWIDTH: "share of memory bandwidth",
    STEP: "seconds of a step",
    SEQUENCE: "seconds of a sequence",
}


@dataclass(frozen=True)
class Origin:
    """What was measured, by what, and when (UTC, RFC 3339)."""

    model: str
    engine: str
    measured_at: str


def accelerator_resource(
    found: Calibration, shape: Shape, name: str, origin: Origin
) -> dict[str, Any]:
    """The manifest. What the steps did not determine is left to the catalogue.

    The figures of `cpu` are of one slow core: what was measured goes into its peaks instead.
    """
    calibration: dict[str, Any] = {}
    spec: dict[str, Any] = {"products": [shape.accelerator.name]}
    if COMPUTE in found.determined:
        if shape.is_cpu:
            peak = shape.accelerator.flops(shape.weights) * found.compute / CPU_COMPUTE_EFFICIENCY
            spec["compute"] = {shape.weights.lower(): _quantity(peak, "G", 9)}
        else:
            calibration["computeEfficiency"] = _decimal(found.compute)
    if BANDWIDTH in found.determined:
        if shape.is_cpu:
            reached = shape.accelerator.bandwidth * found.bandwidth / CPU_BANDWIDTH_EFFICIENCY
            spec["bandwidth"] = _quantity(reached, "M", 6)
        else:
            calibration["bandwidthEfficiency"] = _decimal(found.bandwidth)
    if STEP in found.determined:
        calibration["stepOverhead"] = _decimal(found.step_seconds * 1e3) + "ms"
    if SEQUENCE in found.determined:
        calibration["sequenceOverhead"] = _decimal(found.sequence_seconds * 1e3) + "ms"
    calibration["error"] = _decimal(min(1.0, found.error))
    calibration["samples"] = found.samples
    calibration["model"] = origin.model
    if origin.engine:
        calibration["engine"] = origin.engine
    calibration["measuredAt"] = origin.measured_at
    return {
        "apiVersion": API_VERSION,
        "kind": "Accelerator",
        "metadata": {"name": name},
        "spec": {**spec, "calibration": calibration},
    }


def summary(found: Calibration, prior: dict[str, float]) -> list[str]:
    """Lines for a person: each parameter, what it was and is, and how well it all fits."""
    lines = [f"{'':28}{'before':>12}{'measured':>12}"]
    for name in PARAMETERS:
        told = _decimal(getattr(found, name)) if name in found.determined else "not told"
        lines.append(f"{_TITLES[name]:28}{_decimal(prior[name]):>12}{told:>12}")
    lines.append(
        f"{found.samples} steps, {found.rejected} more left out as outliers; median error "
        f"{found.error:.1%}, 9 of 10 within {found.error_p90:.1%}"
    )
    return lines


def _decimal(value: float) -> str:
    """To three digits, without exponent."""
    return format(Decimal(f"{value:.3g}"), "f")


def _quantity(value: float, unit: str, exponent: int) -> str:
    return _decimal(value / 10**exponent) + unit
