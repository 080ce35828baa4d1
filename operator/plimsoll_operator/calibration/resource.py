"""What a calibration says, as text and as an Accelerator resource."""

from dataclasses import dataclass
from typing import Any

from plimsoll_operator.calibration.figures import decimal, frontend_fields
from plimsoll_planner.calibration.fit import Calibration
from plimsoll_planner.calibration.fit_parameters import (
    ATTENTION,
    BANDWIDTH,
    COMPUTE,
    KV_CACHE,
    SEQUENCE,
    STEP,
)
from plimsoll_planner.calibration.frontend_fit import FrontendFit
from plimsoll_planner.model_facts import INT8, ModelFacts
from plimsoll_planner.performance.roofline import (
    CPU_BANDWIDTH_EFFICIENCY,
    CPU_COMPUTE_EFFICIENCY,
    cpu_products,
)
from plimsoll_planner.search.shape import Shape

API_VERSION = "plimsoll.dev/v1alpha1"
_TITLES = {
    COMPUTE: "share of peak compute",
    BANDWIDTH: "share of memory bandwidth",
    STEP: "seconds of a step",
    SEQUENCE: "seconds of a sequence",
    ATTENTION: "attention's share of compute",
    KV_CACHE: "KV cache's of bandwidth",
}
_FRONTEND = {
    "request": "a request",
    "promptToken": "a token of its prompt",
    "message": "a step's message",
    "event": "an event of an answer",
    "token": "a token in it",
}


@dataclass(frozen=True)
class Origin:
    """What was measured, by what, and when (UTC, RFC 3339)."""

    model: str
    engine: str
    measured_at: str


def accelerator_resource(  # noqa: PLR0913, PLR0917 - what was measured, of what
    found: Calibration,
    facts: ModelFacts,
    shape: Shape,
    name: str,
    origin: Origin,
    frontend: FrontendFit | None = None,
) -> dict[str, Any]:
    """The manifest. What the steps did not determine is left to the catalogue, and the frontend
    where its work did not tell it.

    The figures of `cpu` are of one slow core: what was measured goes into its peaks instead, and
    the shares that attention reaches are of these.
    """
    calibration: dict[str, Any] = {}
    spec: dict[str, Any] = {"products": [shape.accelerator.name]}
    if shape.is_cpu:
        _say_peaks(spec, calibration, found, shape, cpu_products(facts, shape)[0])
    else:
        if COMPUTE in found.determined:
            calibration["computeEfficiency"] = decimal(found.compute)
        if BANDWIDTH in found.determined:
            calibration["bandwidthEfficiency"] = decimal(found.bandwidth)
    if STEP in found.determined:
        calibration["stepOverhead"] = decimal(found.step_seconds * 1e3) + "ms"
    if SEQUENCE in found.determined:
        calibration["sequenceOverhead"] = decimal(found.sequence_seconds * 1e3) + "ms"
    if frontend is not None:
        calibration["frontend"] = frontend_fields(frontend.time)
    calibration["error"] = decimal(min(1.0, found.error))
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


def _say_peaks(
    spec: dict[str, Any],
    calibration: dict[str, Any],
    found: Calibration,
    shape: Shape,
    multiplied_in: str,
) -> None:
    core = shape.accelerator
    faster = found.compute / CPU_COMPUTE_EFFICIENCY if COMPUTE in found.determined else 1.0
    wider = found.bandwidth / CPU_BANDWIDTH_EFFICIENCY if BANDWIDTH in found.determined else 1.0
    if COMPUTE in found.determined:
        peak = core.flops(multiplied_in) * faster
        spec["compute"] = {multiplied_in.lower(): _quantity(peak, "G", 9)}
    if BANDWIDTH in found.determined:
        spec["bandwidth"] = _quantity(core.bandwidth * wider, "M", 6)
    if found.attention is not None and ATTENTION in found.determined:
        # Beside products in INT8 attention is computed in another format, whose peak stays.
        of_peak = found.attention / (1.0 if multiplied_in == INT8 else faster)
        calibration["attentionEfficiency"] = decimal(min(1.0, of_peak))
    if found.kv_cache is not None and KV_CACHE in found.determined:
        calibration["kvCacheEfficiency"] = decimal(min(1.0, found.kv_cache / wider))


def summary(found: Calibration, prior: dict[str, float]) -> list[str]:
    """Lines for a person: each parameter, what it was and is, and how well it all fits."""
    lines = [f"{'':28}{'before':>12}{'measured':>12}"]
    for name, before in prior.items():
        told = decimal(getattr(found, name)) if name in found.determined else "not told"
        lines.append(f"{_TITLES[name]:28}{decimal(before):>12}{told:>12}")
    lines.append(
        f"{found.samples} steps, {found.rejected} more left out as outliers; median error "
        f"{found.error:.1%}, 9 of 10 within {found.error_p90:.1%}"
    )
    return lines


def frontend_summary(found: FrontendFit | str) -> list[str]:
    """Lines on HTTP, tokenization and delivery: what they take, or why that is not known."""
    if isinstance(found, str):
        return [f"HTTP and delivery: not told: {found}"]
    fields = frontend_fields(found.time)
    return [
        "HTTP and delivery, in CPU time:",
        *(f"{title:28}{'':12}{fields[name]:>12}" for name, title in _FRONTEND.items()),
        f"{found.stretches} stretches of time; median error {found.error:.1%}",
    ]


def _quantity(value: float, unit: str, exponent: int) -> str:
    return decimal(value / 10**exponent) + unit
