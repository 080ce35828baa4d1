"""Why a plan that a cluster keeps is what it is: planned again from what was recorded of it."""

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import (
    MeasuredCalibration,
    ObservedTraffic,
    PercentileValue,
    PlanStatus,
)
from plimsoll_operator.api.workload import DEFAULT_REQUESTS_PER_SECOND, Workload
from plimsoll_operator.planning.comparison import differences, plan_fields, spec_fields
from plimsoll_operator.planning.status import plan_status
from plimsoll_operator.reports.comparison_report import rows_of
from plimsoll_operator.reports.explanation import reasons
from plimsoll_operator.reports.layout import BROKEN, KEPT, row, table, wrapped
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import RecordError, measured_of, request_of, spec_of
from plimsoll_operator.status.conditions import PLAN_DRIFTED, SLO_FEASIBLE, get_condition
from plimsoll_planner.planner import plan
from plimsoll_planner.search.trial import REQUESTS


def revision_report(
    resource: Resource, chosen: KeptPlan, before: KeptPlan | None, version: str
) -> str:
    """The whole text on `chosen` and on what has changed since `before`; `version` is the
    planner's.

    Raises RecordError where this version cannot read the plan or the spec that was recorded.
    """
    spec = spec_of(chosen.inputs)
    in_force = chosen.name == resource.status.current_revision
    lines = [
        f"{resource.namespace}/{resource.name}   {chosen.plan.summary}, "
        f"replicas: {chosen.plan.replicas}",
        "",
        *wrapped(
            "revision",
            f"{chosen.number}, {chosen.name}, made for generation "
            f"{chosen.inputs.get('generation', '?')}"
            + (", in force" if in_force else f"; in force is {resource.status.current_revision}"),
        ),
        *wrapped("because", chosen.plan.binding_constraint),
        *(_standing_now(resource) if in_force else []),
        *_calibrated(resource, chosen, in_force=in_force),
        "",
        *_figures(chosen.plan, spec, resource.status.observed if in_force else None),
        "",
        *_again(chosen, version),
        "",
        *_since(before, chosen, spec),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _standing_now(resource: Resource) -> list[str]:
    lines: list[str] = []
    for label, kind in (("SLO", SLO_FEASIBLE), ("drift", PLAN_DRIFTED)):
        found = get_condition(resource.status.conditions, kind)
        said = "not measured yet" if found is None else f"{found.reason}: {found.message}"
        lines += wrapped(label, said)
    return lines


def _calibrated(resource: Resource, chosen: KeptPlan, *, in_force: bool) -> list[str]:
    """What of the engines' own steps the plan was made with, and what the next one will be."""
    used = measured_of(chosen.inputs)
    newest = resource.status.calibration if in_force else None
    lines = [line for item in used for line in wrapped("calibrated", f"{_measured(item)}: used")]
    if newest is not None and newest not in used:
        lines += wrapped("calibrated", f"{_measured(newest)}: the next plan will use it")
    return lines


def _measured(found: MeasuredCalibration) -> str:
    front = found.frontend
    beside = "" if front is None else f", {front.request} a request outside of steps"
    return (
        f"by {found.samples} steps measured on {found.accelerator} until {found.measured_at}, "
        f"off by {float(found.error):.1%}{beside}"
    )


def _figures(
    kept: PlanStatus, spec: LLMDeploymentSpec, observed: ObservedTraffic | None
) -> list[str]:
    said, slo = kept.predicted, spec.slo
    traffic, trace = spec.workload, kept.trace
    rows = [
        ("", "declared", "predicted", "observed"),
        (
            "TTFT p95",
            "-" if slo.time_to_first_token is None else slo.time_to_first_token.p95,
            _spread(said.time_to_first_token),
            "-" if observed is None else observed.time_to_first_token.p95,
        ),
        (
            "TPOT p95",
            "-" if slo.time_per_output_token is None else slo.time_per_output_token.p95,
            _spread(said.time_per_output_token),
            "-" if observed is None else observed.time_per_output_token.p95,
        ),
        (
            "requests/s",
            _declared_rate(kept, traffic),
            f"{kept.replicas} × {said.requests_per_second_per_replica} sustained",
            "-" if observed is None else observed.requests_per_second,
        ),
        (
            "mean prompt",
            str(traffic.prompts.mean if trace is None else trace.prompt_tokens),
            "-",
            "-" if observed is None else str(observed.prompt_tokens),
        ),
        (
            "mean output",
            str(traffic.outputs.mean if trace is None else trace.output_tokens),
            "-",
            "-" if observed is None else str(observed.output_tokens),
        ),
    ]
    if said.cost_per_million_tokens is not None:
        promised = slo.max_cost_per_million_tokens or "-"
        rows.append(("cost per 1M", promised, said.cost_per_million_tokens, "-"))
    return table(rows)


def _declared_rate(kept: PlanStatus, declared: Workload) -> str:
    if kept.trace is not None:
        return kept.trace.requests_per_second
    return declared.requests_per_second or DEFAULT_REQUESTS_PER_SECOND


def _spread(value: PercentileValue) -> str:
    known = value.low is not None and value.high is not None
    return f"{value.p95} ({value.low} to {value.high})" if known else value.p95


def _again(chosen: KeptPlan, version: str) -> list[str]:
    """What this version of the planner answers to the same question, and why."""
    try:
        request = request_of(chosen.inputs)
        simulated = chosen.plan.predicted.simulated is not None
        result = plan(request, REQUESTS if simulated else 0)
    except (RecordError, ValueError) as error:
        return wrapped("again", f"cannot be planned again: {error}")
    answer = plan_status(result)
    changed = list(differences(plan_fields(chosen.plan), plan_fields(answer)))
    made_by = chosen.inputs.get("planner", "?")
    when = f"made by {made_by}, planned again by {version} from what was recorded"
    if not changed:
        lines = wrapped("again", f"{KEPT} the same answer: {when}")
    else:
        lines = wrapped("again", f"{BROKEN} another answer today: {when}")
        if chosen.inputs.get("recordedLater"):
            lines += wrapped("", "the record is younger than the plan: its nodes may be others")
        lines += ["", *rows_of("plan", changed)]
    source = str(chosen.inputs["model"]["source"])
    return [*lines, "", *reasons(source, request, result)]


def _since(before: KeptPlan | None, chosen: KeptPlan, spec: LLMDeploymentSpec) -> list[str]:
    if before is None:
        return [row("since", "no earlier revision is kept")]
    lines = [row("since", f"{before.number}, {before.name}"), ""]
    try:
        declared = list(differences(spec_fields(spec_of(before.inputs)), spec_fields(spec)))
        planned = list(differences(plan_fields(before.plan), plan_fields(chosen.plan)))
    except RecordError as error:
        return [*lines[:1], *wrapped("", str(error))]
    lines += rows_of("spec", declared) + rows_of("plan", planned)
    return lines if declared or planned else [*lines[:1], row("", "with the same spec and plan")]
