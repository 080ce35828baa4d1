"""What engines' own steps say of a model on its accelerator, and how plans use it: pure.

It is kept in the status of the LLMDeployment, so it is of one model on one product, and used for
all that serve this model. A plan that is in force stays as it is; the next one is made with these
figures, and its record has them.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import ValidationError

from plimsoll_operator.api.spec import LLMDeploymentSpec, SpeculationMethod
from plimsoll_operator.api.status import MeasuredCalibration, MeasuredFrontend, PlanStatus
from plimsoll_operator.calibration.figures import (
    calibrated,
    decimal,
    field_of,
    frontend_fields,
    frontend_time,
)
from plimsoll_operator.resource import Resource
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.accelerators import find
from plimsoll_planner.calibration.fit import CalibrationError, Sample, calibrate
from plimsoll_planner.calibration.frontend_fit import measured as measured_frontend
from plimsoll_planner.calibration.frontend_fit import off
from plimsoll_planner.calibration.frontend_work import Work
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.search.shape import Shape

T = TypeVar("T")

MOST_SAMPLES = 1024
MOST_STRETCHES = 256
LEAST_SAMPLES = 200
"""More than a fit by hand needs, where somebody looks at it."""
LONGEST_SECONDS = 60.0
"""A step beyond it is none: an engine that is stuck so long counts as failed."""
LEAST_DETERMINED = 2
"""Where steps are all alike one figure takes all the blame, and no other load is told by it."""
LEAST_ERROR = 0.01
"""What a fit may claim at best: traffic is never that of the steps that it was made of."""
TELL_CHANGE = 0.05
"""By how much more than a new fit the one before must be off before the new one is told."""


@dataclass(frozen=True)
class Subject:
    """What is measured: `model`, as `spec` names it, under `plan`. `known` accelerators go before
    the catalogue, `before` is what was found earlier."""

    spec: LLMDeploymentSpec
    plan: PlanStatus
    model: Model
    known: tuple[Accelerator, ...]
    before: MeasuredCalibration | None = None


def model_of(spec: LLMDeploymentSpec) -> str:
    """The model, as a calibration names it."""
    model = spec.model
    return model.source if model.revision is None else f"{model.source}@{model.revision}"


def can_be_measured(spec: LLMDeploymentSpec) -> bool:
    """Whether its steps are of its model alone, without drafts."""
    return spec.speculation.method is SpeculationMethod.DISABLED


def fitted(
    subject: Subject, samples: Sequence[Sample], now: str, work: Sequence[Work] = ()
) -> MeasuredCalibration | None:
    """The calibration that `samples` of its engines give, as of `now` (RFC 3339), and with it what
    `work` says of their servers.

    None where that found before still explains them. Raises CalibrationError where no fit of the
    steps can be trusted; of a server what was found before then stays.
    """
    usable = [item for item in samples if 0 < item.seconds <= LONGEST_SECONDS]
    if len(usable) < LEAST_SAMPLES:
        raise CalibrationError(f"{len(usable)} steps measured, {LEAST_SAMPLES} needed")
    plan = subject.plan
    shape = _shape(plan, subject.known)
    facts, taken = model_facts(subject.model), _thinned(usable, MOST_SAMPLES)
    found = calibrate(facts, shape, taken)
    if len(found.determined) < LEAST_DETERMINED:
        raise CalibrationError(
            f"the steps are too much alike: they tell {found.determined or 'nothing'}"
        )
    before = measured_on(plan, in_use(subject.before, subject.spec))
    if before is not None:
        gpu = calibrated(shape.accelerator, before)
        step = step_time(facts, replace(shape, accelerator=gpu))
        if _off(step, taken) <= found.error + TELL_CHANGE:
            news = _frontend(before.frontend, work)
            if news is None:
                return None
            return before.model_copy(update={"frontend": news, "measured_at": now})
    told_before = None if before is None else before.frontend
    frontend = _frontend(told_before, work) or told_before
    figures = dict(field_of(name, getattr(found, name)) for name in found.determined)
    return MeasuredCalibration.model_validate(
        {
            "accelerator": plan.accelerator,
            "model": model_of(subject.spec),
            "error": decimal(max(LEAST_ERROR, found.error)),
            "samples": found.samples,
            "measured_at": now,
            "frontend": frontend,
            **figures,
        }
    )


def _frontend(before: MeasuredFrontend | None, work: Sequence[Work]) -> MeasuredFrontend | None:
    """What the work of servers says, if it can be trusted and `before` does not explain it."""
    taken = _thinned(work, MOST_STRETCHES)
    try:
        found = measured_frontend(taken)
    except CalibrationError:
        return None
    if before is not None and off(frontend_time(before), taken) <= found.error + TELL_CHANGE:
        return None
    return MeasuredFrontend.model_validate(
        {
            **frontend_fields(found.time),
            "error": decimal(max(LEAST_ERROR, found.error)),
            "stretches": found.stretches,
        }
    )


def in_use(
    measured: MeasuredCalibration | None, spec: LLMDeploymentSpec
) -> MeasuredCalibration | None:
    """`measured`, if it is of the model of `spec`."""
    return measured if measured is not None and measured.model == model_of(spec) else None


def parse_calibration(raw: object) -> MeasuredCalibration | None:
    """A calibration out of a status; None where it is none."""
    try:
        return MeasuredCalibration.model_validate(raw)
    except ValidationError:
        return None


def measured_on(
    plan: PlanStatus, measured: MeasuredCalibration | None
) -> MeasuredCalibration | None:
    """`measured`, if it is of the plan's accelerator."""
    of_it = measured is not None and measured.accelerator == plan.accelerator
    return measured if of_it else None


def newest(
    measured: Iterable[MeasuredCalibration | None], spec: LLMDeploymentSpec
) -> tuple[MeasuredCalibration, ...]:
    """Those of the model of `spec`, whoever serves it: the newest of each accelerator, in the order
    of names."""
    found: dict[str, MeasuredCalibration] = {}
    for item in measured:
        if item is None or in_use(item, spec) is None:
            continue
        before = found.get(item.accelerator)
        if before is None or before.measured_at < item.measured_at:
            found[item.accelerator] = item
    return tuple(found[name] for name in sorted(found))


def with_measured(
    known: tuple[Accelerator, ...], measured: Iterable[MeasuredCalibration]
) -> tuple[Accelerator, ...]:
    """`known`, which go before the catalogue, with what was measured."""
    changed = {item.name: item for item in known}
    for calibration in measured:
        base = find(calibration.accelerator, known)
        if base is not None:
            changed[base.name] = calibrated(base, calibration)
    return tuple(changed[name] for name in sorted(changed))


def told(resource: Resource, found: MeasuredCalibration | None) -> MeasuredCalibration | None:
    """What the status should say: `found` if it is of its model, else what it says already."""
    before = resource.status.calibration
    if resource.spec is None:
        return before
    return in_use(found, resource.spec) or in_use(before, resource.spec)


def _off(step: StepTime, samples: Sequence[Sample]) -> float:
    """Median relative error of `step` on them."""
    return statistics.median(
        abs(step(item.tokens, item.sequences, item.context, item.pairs) / item.seconds - 1)
        for item in samples
    )


def _shape(plan: PlanStatus, known: tuple[Accelerator, ...]) -> Shape:
    accelerator = find(plan.accelerator, known)
    if accelerator is None:
        raise CalibrationError(f"nothing is known of {plan.accelerator}")
    # A pod may use more than it asks for: as many cores as its engine has threads.
    cores = None if plan.cpu_cores is None else max(1.0, float(plan.cpu_cores))
    return Shape(
        accelerator,
        plan.accelerator,
        plan.precision.weights,
        plan.precision.kv_cache,
        plan.tensor_parallel_size,
        cores,
        plan.pipeline_parallel_size,
        bool(plan.expert_parallel),
    )


def _thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of them, evenly."""
    if len(items) <= most:
        return items
    return [items[i * len(items) // most] for i in range(most)]
