"""Whether what is measured has left what the plan in force was made for: pure.

Traffic differs where more arrives than the planned replicas sustain, or where mean lengths are off
by more than a tolerance. Latencies count as slower than predicted only beyond the prediction's own
range, and where more arrives than was declared, beyond what is promised too. What has drifted must
come back further than it took to count as drifted, so that chance does not flap. Nothing is planned
anew: the message says what to edit.
"""

from dataclasses import dataclass

from plimsoll_operator.api.quantity import format_duration, parse_duration, parse_quantity
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import Condition, ObservedTraffic, PercentileValue, PlanStatus
from plimsoll_operator.api.workload import DEFAULT_REQUESTS_PER_SECOND
from plimsoll_operator.resource import Resource
from plimsoll_operator.scaling.measurement import Figures
from plimsoll_operator.status.conditions import PLAN_DRIFTED, Finding, get_condition
from plimsoll_planner.text import figure

RATE_ENTER, RATE_LEAVE = 1.20, 1.05
"""Measured over sustained rate at which it begins and ends to count as more than planned."""
LENGTH_ENTER, LENGTH_LEAVE = 1.30, 1.15
"""The same for mean lengths over planned ones, or planned over measured."""
SLOWER_ENTER, SLOWER_LEAVE = 1.10, 1.00
"""The same for a p95 over the highest that was predicted."""
TELL_CHANGE = 1.15
"""Factor by which a figure must have changed to be told again."""
DIFFERS, SLOWER, AS_PLANNED = "TrafficDiffers", "SlowerThanPredicted", "AsPlanned"


@dataclass(frozen=True)
class Drift:
    """What the status should say: None of either leaves what it says."""

    finding: Finding | None = None
    observed: ObservedTraffic | None = None


NO_NEWS = Drift()


@dataclass(frozen=True)
class _Departure:
    """What differs, and the field to edit; empty where none would help."""

    what: str
    edit: str


def drift(resource: Resource, plan: PlanStatus, figures: Figures | None, *, settled: bool) -> Drift:
    """What to say of `figures`, measured since the plan serves; None where that is too little.

    `settled` is whether the last news of it are long enough ago to tell some again.
    """
    before = get_condition(resource.status.conditions, PLAN_DRIFTED)
    spec = resource.spec
    if spec is None or figures is None:
        if before is None or before.observed_generation == resource.generation:
            return NO_NEWS
        message = "too little is measured since the last edit"
        return Drift(Finding(PLAN_DRIFTED, status=None, reason="NotMeasured", message=message))
    was = before.reason if before is not None and before.status == "True" else ""
    traffic = _traffic(spec, plan, figures, drifted=was == DIFFERS)
    latency = _latency(spec, plan, figures, drifted=was == SLOWER)
    reason = _reason(traffic, latency)
    observed = _observed(figures)
    known = resource.status.observed
    if _same_verdict(before, reason, resource.generation):
        if not settled or known is None or not _changed(known, observed):
            return NO_NEWS
    elif not settled and before is not None and before.status != "Unknown":
        return NO_NEWS
    return Drift(_finding(resource, traffic, latency, figures), observed)


def _finding(
    resource: Resource,
    traffic: list[_Departure],
    latency: list[_Departure],
    figures: Figures,
) -> Finding:
    reason = _reason(traffic, latency)
    if reason == AS_PLANNED:
        message = "traffic and latencies are within what was planned for"
        return Finding(PLAN_DRIFTED, status=False, reason=reason, message=message)
    told = [*traffic, *latency]
    minutes = max(1, round(figures.seconds / 60))
    edits = ", ".join(dict.fromkeys(item.edit for item in traffic))
    out = (
        f"To plan for it, edit spec: {edits}"
        if traffic
        else f"The predictions are too fast here: {_way_out(resource)}"
    )
    message = (
        f"in the last {minutes} min {'; '.join(item.what for item in told)}. The plan stays. {out}"
    )
    return Finding(PLAN_DRIFTED, status=True, reason=reason, message=message)


def _reason(traffic: list[_Departure], latency: list[_Departure]) -> str:
    return DIFFERS if traffic else SLOWER if latency else AS_PLANNED


def _way_out(resource: Resource) -> str:
    if resource.status.calibration is None:
        return "calibrate the accelerator (plimsoll calibrate), or leave room in spec.slo"
    return "leave room in spec.slo; what is planned next goes by status.calibration"


def _traffic(
    spec: LLMDeploymentSpec, plan: PlanStatus, figures: Figures, *, drifted: bool
) -> list[_Departure]:
    found: list[_Departure] = []
    each = float(parse_quantity(plan.predicted.requests_per_second_per_replica))
    sustained = plan.replicas * each
    rate = figures.requests_per_second
    if rate > sustained * (RATE_LEAVE if drifted else RATE_ENTER):
        found.append(
            _Departure(
                f"{figure(rate, 2)} requests/s arrived, and the plan's {plan.replicas} × "
                f"{figure(each, 2)} sustain {figure(sustained, 2)}",
                f'workload.requestsPerSecond: "{figure(rate, 2)}"',
            )
        )
    most = LENGTH_LEAVE if drifted else LENGTH_ENTER
    declared, trace = spec.workload, plan.trace
    for name, field, planned, mean in (
        (
            "prompts",
            "promptTokens",
            declared.prompts.mean if trace is None else trace.prompt_tokens,
            figures.prompt_tokens,
        ),
        (
            "outputs",
            "outputTokens",
            declared.outputs.mean if trace is None else trace.output_tokens,
            figures.output_tokens,
        ),
    ):
        if _factor(planned, mean) > most:
            edit = f"workload.{field}.mean: {max(1, round(float(figure(mean, 2))))}"
            found.append(
                _Departure(
                    f"{name} had {figure(mean, 2)} tokens on average, planned were {planned}",
                    edit if trace is None else "workload.trace: a trace of today",
                )
            )
    return found


def _latency(
    spec: LLMDeploymentSpec, plan: PlanStatus, figures: Figures, *, drifted: bool
) -> list[_Departure]:
    found: list[_Departure] = []
    most = SLOWER_LEAVE if drifted else SLOWER_ENTER
    declared = _declared_rate(spec, plan)
    busier = figures.requests_per_second > declared * RATE_ENTER
    for name, predicted, promised, measured in (
        (
            "TTFT",
            plan.predicted.time_to_first_token,
            spec.slo.time_to_first_token,
            figures.ttft_p95,
        ),
        (
            "TPOT",
            plan.predicted.time_per_output_token,
            spec.slo.time_per_output_token,
            figures.tpot_p95,
        ),
    ):
        highest = parse_duration(predicted.high or predicted.p95)
        if busier:  # the prediction is for the declared rate, the promise for what is sustained
            if promised is None:
                continue
            highest = max(highest, parse_duration(promised.p95))
        if measured > highest * most:
            span = f", at most {predicted.high}" if predicted.high is not None else ""
            what = f"{name} p95 was {_duration(measured)}, predicted {predicted.p95}{span}"
            found.append(_Departure(what, ""))
    return found


def _declared_rate(spec: LLMDeploymentSpec, plan: PlanStatus) -> float:
    if plan.trace is not None:
        return float(parse_quantity(plan.trace.requests_per_second))
    return float(parse_quantity(spec.workload.requests_per_second or DEFAULT_REQUESTS_PER_SECOND))


def _same_verdict(before: Condition | None, reason: str, generation: int) -> bool:
    return (
        before is not None and before.reason == reason and before.observed_generation == generation
    )


def _observed(figures: Figures) -> ObservedTraffic:
    return ObservedTraffic(
        requests_per_second=figure(figures.requests_per_second, 2),
        prompt_tokens=max(1, round(figures.prompt_tokens)),
        output_tokens=max(1, round(figures.output_tokens)),
        time_to_first_token=PercentileValue(p95=_duration(figures.ttft_p95)),
        time_per_output_token=PercentileValue(p95=_duration(figures.tpot_p95)),
    )


def _changed(known: ObservedTraffic, now: ObservedTraffic) -> bool:
    return any(
        _factor(old, new) > TELL_CHANGE
        for old, new in zip(_values(known), _values(now), strict=True)
    )


def _values(observed: ObservedTraffic) -> tuple[float, ...]:
    return (
        float(parse_quantity(observed.requests_per_second)),
        float(observed.prompt_tokens),
        float(observed.output_tokens),
        parse_duration(observed.time_to_first_token.p95),
        parse_duration(observed.time_per_output_token.p95),
    )


def _factor(one: float, other: float) -> float:
    """How many times the larger is the smaller; 1 where both are 0."""
    low, high = sorted((one, other))
    if low <= 0:
        return 1.0 if high <= 0 else float("inf")
    return high / low


def _duration(seconds: float) -> str:
    return format_duration(float(figure(seconds, 2)))
