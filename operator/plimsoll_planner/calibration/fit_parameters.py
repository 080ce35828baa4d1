"""What a calibration fits: bounds, what holds before, and an accelerator with other values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.performance.roofline import (
    BANDWIDTH_EFFICIENCY,
    COMPUTE_EFFICIENCY,
    CPU_ATTENTION_EFFICIENCY,
    CPU_BANDWIDTH_EFFICIENCY,
    CPU_COMPUTE_EFFICIENCY,
    CPU_KV_CACHE_EFFICIENCY,
)
from plimsoll_planner.search.shape import Shape

COMPUTE, BANDWIDTH, STEP, SEQUENCE = "compute", "bandwidth", "step_seconds", "sequence_seconds"
PARAMETERS = (COMPUTE, BANDWIDTH, STEP, SEQUENCE)
ATTENTION, KV_CACHE = "attention", "kv_cache"
CPU_PARAMETERS = (*PARAMETERS, ATTENTION, KV_CACHE)
"""On `cpu` also attention's shares of compute and bandwidth, which its kernels reach as they are
built, whatever products reach."""
_SECONDS = (STEP, SEQUENCE)
BOUNDS = {
    COMPUTE: (0.02, 1.0),
    BANDWIDTH: (0.02, 1.0),
    STEP: (1e-5, 0.5),
    SEQUENCE: (1e-7, 0.05),
    ATTENTION: (0.02, 1.0),
    KV_CACHE: (0.02, 1.0),
}
"""Physical limits: no kernel reaches more than the peak."""
CPU_PEAK_BOUND = 50.0
"""The same share on `cpu`, whose peaks are of one kind of core and not of the machine at hand."""


def parameters(shape: Shape) -> tuple[str, ...]:
    """What is fitted of such a replica."""
    return CPU_PARAMETERS if shape.is_cpu else PARAMETERS


def before(shape: Shape) -> dict[str, float]:
    """What holds before anything is measured, in the order of `parameters`."""
    gpu, known, cpu = shape.accelerator, shape.accelerator.efficiency, shape.is_cpu
    values = {
        COMPUTE: known.compute or (CPU_COMPUTE_EFFICIENCY if cpu else COMPUTE_EFFICIENCY),
        BANDWIDTH: known.bandwidth or (CPU_BANDWIDTH_EFFICIENCY if cpu else BANDWIDTH_EFFICIENCY),
        STEP: gpu.step_seconds,
        SEQUENCE: gpu.sequence_seconds,
        ATTENTION: known.attention or CPU_ATTENTION_EFFICIENCY,
        KV_CACHE: known.kv_cache or CPU_KV_CACHE_EFFICIENCY,
    }
    return {name: values[name] for name in parameters(shape)}


def bounds(shape: Shape) -> list[tuple[float, float]]:
    """Least and most of each of `parameters`."""
    most = CPU_PEAK_BOUND if shape.is_cpu else 1.0
    return [
        (BOUNDS[name][0], BOUNDS[name][1] if name in _SECONDS else most)
        for name in parameters(shape)
    ]


def changed_by(accelerator: Accelerator, values: Mapping[str, float]) -> Accelerator:
    """With these parameters instead of its own."""
    seconds: dict[str, Any] = {name: v for name, v in values.items() if name in _SECONDS}
    shares: dict[str, Any] = {name: value for name, value in values.items() if name not in seconds}
    return replace(accelerator, efficiency=replace(accelerator.efficiency, **shares), **seconds)
