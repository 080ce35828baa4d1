"""Plans resources: asks the planner, remembering answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec, WhenInfeasible
from plimsoll_operator.api.status import MeasuredCalibration
from plimsoll_operator.calibration.measured import (
    model_of,
    newest,
    parse_calibration,
    with_measured,
)
from plimsoll_operator.kube.kinds import ACCELERATOR, NODE, REVISION
from plimsoll_operator.kube.store import Store
from plimsoll_operator.plan_service.model_reader import ConfigMapReader, ModelReader
from plimsoll_operator.plan_service.plan_process import PlanProcess, PlanProcessError
from plimsoll_operator.plan_service.remembered import Remembered
from plimsoll_operator.plan_service.trace_reader import TraceReader
from plimsoll_operator.planning.accelerators import overrides, verdicts
from plimsoll_operator.planning.inventory import Inventory
from plimsoll_operator.planning.model_source import (
    ModelSourceError,
    SourceModels,
)
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.planning.status import feasibility, plan_status
from plimsoll_operator.plans.choice import (
    Standing,
    Trouble,
    inputs_hash,
    pods_hash,
    settled,
    standing,
    within_engine,
)
from plimsoll_operator.plans.memory_reserve import ran_out, reserves_of
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.kept_plan import KeptPlan
from plimsoll_operator.revisions.record import Sources, record, used
from plimsoll_operator.revisions.reinstated import reinstated
from plimsoll_operator.traces.trouble import NamedTraceError
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.models.model import Model
from plimsoll_planner.result import PlanResult
from plimsoll_planner.search.trial import REQUESTS

EarlierPlan = Callable[[Resource, str], Awaitable[KeptPlan | None]]
"""From a resource and the hash of inputs to the plan that it had for such before, if any."""


async def _none_earlier(resource: Resource, inputs: str) -> KeptPlan | None:  # noqa: ARG001
    return None


class PlannerService:
    """Answers which plan is in force for a resource."""

    def __init__(
        self,
        store: Store,
        read_config_map: ConfigMapReader,
        traces: TraceReader,
        trial_requests: int = REQUESTS,
        earlier: EarlierPlan = _none_earlier,
    ) -> None:
        self._store = store
        self._reader = ModelReader(read_config_map)
        self._traces = traces
        self._earlier = earlier
        self._planner = PlanProcess(trial_requests)
        self._plans: Remembered[PlanRequest, PlanResult | Trouble] = Remembered()
        self._seen = -1
        self._inventory = Inventory()
        self._accelerators: tuple[Accelerator, ...] = ()
        self._accelerator_resources: tuple[Mapping[str, Any], ...] = ()

    async def standing(self, resource: Resource) -> Standing:
        """The plan in force, or the trouble that keeps it from being made. Does not raise for
        anything that a person could have written into the resource. Raises ClusterError."""
        spec = resource.spec
        if spec is None:
            return Standing(trouble=Trouble("InvalidSpec", resource.invalid))
        pods = pods_hash(spec)
        known = await self._settled(resource, spec)
        if known is not None:
            known = replace(known, pods=pods)
            done = self._recorded(resource, known) and not ran_out(resource.status)
            if done or known.unread is not None:
                return known
        asked = await self._question(resource, spec)
        if isinstance(asked, Trouble):
            return known or Standing(trouble=asked)
        found, request, measured = asked
        inputs = inputs_hash(request)
        sources = Sources(
            spec,
            resource.generation,
            found,
            request.inventory,
            self._accelerator_resources,  # those of the request, whatever comes meanwhile
            measured,
            _planner_version(),
            request.workload.trace,
            request.reserves,
        )
        if known is None and resource.status.plan_inputs != inputs:
            kept = await self._earlier(resource, inputs)
            before = None if kept is None else reinstated(kept, sources)
            answer = within_engine(Standing(plan=before, inputs=inputs), found.unserved)
            if answer.plan is not None:
                return self._with_record(resource, replace(answer, pods=pods), sources, later=True)
        try:
            result = await self._plans.get(_remembered(request), lambda: self._plan(request))
        except PlanProcessError as error:
            result = Trouble("PlanningFailed", str(error), transient=True)
        if isinstance(result, Trouble):
            return known or Standing(trouble=result)
        answer = standing(
            resource,
            inputs,
            plan_status(result),
            feasibility(result),
            best_effort=spec.slo.when_infeasible is WhenInfeasible.BEST_EFFORT,
        )
        answer = replace(within_engine(answer, found.unserved), pods=pods)
        # A plan that stands is not touched for want of a record of it, and goes on without memory
        # where none with more fits.
        if known is not None and (not ran_out(resource.status) or answer.plan is None):
            answer = known
        later = answer.plan != plan_status(result)
        return self._with_record(resource, answer, sources, later=later)

    def _with_record(
        self, resource: Resource, answer: Standing, sources: Sources, *, later: bool
    ) -> Standing:
        """`answer` with what its plan was made from, where that is not kept yet."""
        if self._recorded(resource, answer):
            return answer
        feasible = answer.feasibility is None
        return replace(answer, record=record(sources, later=later, feasible=feasible))

    async def _settled(self, resource: Resource, spec: LLMDeploymentSpec) -> Standing | None:
        """The plan that stands for this generation and for the trace as it is now; None where none
        does. One whose trace cannot be read stays."""
        known, source = settled(resource), spec.workload.trace
        if known is None or known.plan is None or source is None:
            return known
        made_for = known.plan.trace
        if made_for is None:
            return None
        try:
            digest = await self._traces.digest(resource, source)
        except NamedTraceError as error:
            return replace(known, unread=Trouble(error.reason, str(error)))
        return known if made_for.hash == digest else None

    async def _question(
        self, resource: Resource, spec: LLMDeploymentSpec
    ) -> tuple[SourceModels, PlanRequest, tuple[MeasuredCalibration, ...]] | Trouble:
        """What the planner is to be asked, and the models and calibrations that it is about."""
        try:
            found = await self._reader.models_of(resource, spec)
        except ModelSourceError as error:
            return Trouble("ModelConfigUnavailable", str(error), error.transient)
        source = spec.workload.trace
        try:
            trace = None if source is None else await self._traces.read(resource, source)
        except NamedTraceError as error:
            return Trouble(error.reason, str(error), transient=True)
        self._look()
        measured = self._measured(spec)
        accelerators = with_measured(self._accelerators, measured)
        try:
            request = plan_request(
                spec,
                found.target.model,
                self._inventory.pools_for(spec.template),
                accelerators,
                found.draft_model,
                trace=trace,
            )
        except ValueError as error:
            return Trouble("PlanningFailed", str(error))
        return found, replace(request, reserves=reserves_of(resource.status, spec)), measured

    def _measured(self, spec: LLMDeploymentSpec) -> tuple[MeasuredCalibration, ...]:
        """What engines have measured of its model, its own and those of others."""
        found = map(parse_calibration, self._store.calibrations(model_of(spec)))
        return newest(found, spec)

    async def facts(self, resource: Resource) -> tuple[Model, tuple[Accelerator, ...]] | None:
        """The model that it serves, and what goes before the catalogue; None where its config.json
        cannot be read now."""
        if resource.spec is None:
            return None
        try:
            found = await self._reader.models_of(resource, resource.spec)
        except ModelSourceError:
            return None
        self._look()
        return found.target.model, self._accelerators

    def _recorded(self, resource: Resource, answer: Standing) -> bool:
        """Whether its plan has a revision, or there is none to keep."""
        name = answer.revision(resource.name)
        if name is None:
            return True
        return self._store.get(REVISION.name, resource.namespace, name) is not None

    async def _plan(self, request: PlanRequest) -> PlanResult | Trouble:
        """What the planner answers. That it makes no sense is an answer too: asked again, it would
        be the same. Raises PlanProcessError."""
        try:
            return await self._planner.plan(request)
        except ValueError as error:
            return Trouble("PlanningFailed", str(error))

    def close(self) -> None:
        """Ends what is being planned."""
        self._planner.close()

    def forget(self, uid: str) -> None:
        """Drops what was noted of a resource that is gone."""
        self._reader.forget(uid)
        self._traces.forget(uid)

    def _look(self) -> None:
        """Reads nodes and accelerators where any has changed."""
        if self._seen != self._store.inventory_version:
            self._inventory = Inventory(self._store.all(NODE.name))
            self._accelerators = overrides(verdicts(self._store.all(ACCELERATOR.name)))
            self._accelerator_resources = used(self._store.all(ACCELERATOR.name))
            self._seen = self._store.inventory_version


def _remembered(request: PlanRequest) -> PlanRequest:
    """An equal request that keeps no requests of a trace in memory."""
    workload = request.workload
    if workload.trace is None:
        return request
    light = replace(workload, trace=workload.trace.without_arrivals())
    return replace(request, workload=light)


@cache
def _planner_version() -> str:
    """Read from a file of the package, which takes a while."""
    return version("plimsoll")
