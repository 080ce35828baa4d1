"""From probes to the replica that is simulated: the fit of its steps, and what lies beside."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from e2e.measured.frontend import frontend_time, under_traffic
from e2e.measured.probes import Probed
from e2e.measured.rehearsal import Rehearsed
from plimsoll_planner.accelerators import CPU, find
from plimsoll_planner.calibration.fit import Calibration, calibrate, calibrated
from plimsoll_planner.model_facts import ModelFacts
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_runtime.core.limits import EngineLimits

PRECISION = "BF16"
"""What the engine takes for both checkpoints."""
NOT_REHEARSED = Rehearsed(())


@dataclass(frozen=True)
class Calibrated:
    """What was fitted, and the replica that follows from it."""

    fit: Calibration
    shape: Shape
    step: StepTime
    replica: ReplicaModel


def one_core() -> Shape:
    """What is measured, with the catalogue's figures."""
    core = find(CPU)
    if core is None:
        raise ValueError("the catalogue lacks cpu")
    return Shape(core, core.name, PRECISION, PRECISION, cpu_cores=1.0)


def calibrate_on(
    probed: Probed,
    facts: ModelFacts,
    limits: dict[str, Any],
    rehearsed: Rehearsed = NOT_REHEARSED,
    arrivals: Sequence[Arrival] = (),
) -> Calibrated:
    """One core with what the probes say, and a rehearsal where there was one, of these requests.

    Raises CalibrationError where the steps give no fit.
    """
    shape = one_core()
    fit = calibrate(facts, shape, (*probed.samples, *rehearsed.samples))
    found = calibrated(shape, fit)
    request = statistics.median(probed.request_seconds)
    found = replace(found, accelerator=replace(found.accelerator, request_seconds=request))
    engine = EngineLimits(
        max_num_seqs=limits["max_num_seqs"],
        max_num_batched_tokens=limits["max_num_batched_tokens"],
        max_model_len=limits["max_model_len"],
        num_blocks=limits["num_usable_blocks"],
        block_size=limits["block_size"],
    )
    step = step_time(facts, found)
    frontend = frontend_time(probed, rehearsed.work)
    replica = ReplicaModel(step, engine, frontend=frontend)
    return Calibrated(fit, found, step, under_traffic(replica, rehearsed.seen(arrivals)))
