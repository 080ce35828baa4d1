"""From probes to the replica that is simulated: the fit of its steps, and what lies beside."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2e.measured.probes import Gap, Probed
from plimsoll_planner.accelerators import CPU, find
from plimsoll_planner.calibration import Calibration, calibrate, calibrated
from plimsoll_planner.model_facts import ModelFacts
from plimsoll_planner.performance import step_time
from plimsoll_planner.shape import Shape
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.step_time import StepTime
from plimsoll_runtime.core.limits import EngineLimits

PRECISION = "BF16"
"""What the engine takes for both checkpoints."""


@dataclass(frozen=True)
class Outside:
    """Seconds outside of the model's steps: of a step, by sequence of it, and of a request before
    its first token."""

    step: float
    sequence: float
    request: float


@dataclass(frozen=True)
class Calibrated:
    """What was fitted, and the replica that follows from it."""

    fit: Calibration
    outside: Outside
    shape: Shape
    step: StepTime
    replica: ReplicaModel


def outside(probed: Probed) -> Outside:
    """A line through the gaps between steps, and the median of what requests waited beside."""
    step, sequence = line(probed.gaps)
    return Outside(step, sequence, statistics.median(probed.request_seconds))


def line(gaps: Sequence[Gap]) -> tuple[float, float]:
    """Seconds of a step and of each of its sequences, by least squares; neither is below 0."""
    counts = [float(gap.sequences) for gap in gaps]
    slope, begin = statistics.linear_regression(counts, [gap.seconds for gap in gaps])
    return max(0.0, begin), max(0.0, slope)


def one_core() -> Shape:
    """What is measured, with the catalogue's figures."""
    core = find(CPU)
    if core is None:
        raise ValueError("the catalogue lacks cpu")
    return Shape(core, core.name, PRECISION, PRECISION, cpu_cores=1.0)


def calibrate_on(probed: Probed, facts: ModelFacts, limits: dict[str, Any]) -> Calibrated:
    """One core with what the probes say. Raises CalibrationError where the steps give no fit."""
    shape = one_core()
    fit = calibrate(facts, shape, probed.samples)
    found, beside = calibrated(shape, fit), outside(probed)
    core = found.accelerator
    found = replace(
        found,
        accelerator=replace(
            core,
            step_seconds=core.step_seconds + beside.step,
            sequence_seconds=core.sequence_seconds + beside.sequence,
            request_seconds=beside.request,
        ),
    )
    engine = EngineLimits(
        max_num_seqs=limits["max_num_seqs"],
        max_num_batched_tokens=limits["max_num_batched_tokens"],
        max_model_len=limits["max_model_len"],
        num_blocks=limits["num_usable_blocks"],
        block_size=limits["block_size"],
    )
    step = step_time(facts, found)
    return Calibrated(fit, beside, found, step, ReplicaModel(step, engine))
