"""Plans a bundle without a cluster: model facts from the bundle, a folder or the hub."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plimsoll_operator.api.spec import ModelSource
from plimsoll_operator.api.status import MeasuredCalibration
from plimsoll_operator.calibration.measured import newest, with_measured
from plimsoll_operator.planning.bundle import Bundle, BundleError, Declared
from plimsoll_operator.planning.inventory import Inventory
from plimsoll_operator.planning.model_source import (
    ModelSourceError,
    SourceModel,
    SourceModels,
    parse_config,
    read_model_config,
    read_model_directory,
)
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.plans.memory_reserve import reserves_of
from plimsoll_operator.traces.named_trace import named_trace
from plimsoll_operator.traces.trouble import NOT_FOUND, NamedTraceError
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult
from plimsoll_planner.simulation.recorded_trace import RecordedTrace


@dataclass(frozen=True)
class Planned:
    """One LLMDeployment, what the planner was asked for it, and what it answered.

    `unserved` is why the engine cannot run its models, empty if it can.
    """

    declared: Declared
    request: PlanRequest
    result: PlanResult
    unserved: str = ""


def plan_bundle(
    bundle: Bundle,
    inventory: Inventory,
    model_directory: Path | None = None,
    measured: Iterable[MeasuredCalibration | None] = (),
    *,
    trial_requests: int = 0,
) -> list[Planned]:
    """A plan for every LLMDeployment, each as if it had the whole inventory.

    `measured` is what engines have, beside what the bundle's own statuses say of it.
    `trial_requests` are those of `planner.plan`. `model_directory` holds the config.json to use
    instead of each model's own. Raises BundleError where one cannot be read.
    """
    planned: list[Planned] = []
    problems: list[str] = []
    told = (*measured, *(item.resource.status.calibration for item in bundle.deployments))
    for declared in bundle.deployments:
        where = "spec.model.source"
        try:
            target = _target(declared, bundle, model_directory)
            where = "spec.speculation.draftModel.source"
            found = SourceModels(target, _draft(declared, bundle))
            where = "spec.workload.trace"
            trace = _trace(declared, bundle)
            request = plan_request(
                declared.spec,
                target.model,
                inventory.pools_for(declared.spec.template),
                with_measured(bundle.accelerators, newest(told, declared.spec)),
                found.draft_model,
                trace=trace,
            )
            reserves = reserves_of(declared.resource.status, declared.spec)
            request = replace(request, reserves=reserves)
            planned.append(
                Planned(declared, request, plan(request, trial_requests), found.unserved)
            )
        except (ModelSourceError, NamedTraceError) as error:
            problems.append(f"{declared.document.where(where)}: {where}: {error}")
        except ValueError as error:
            problems.append(f"{declared.document.where('spec')}: cannot be planned: {error}")
    if problems:
        raise BundleError("\n".join(problems))
    return planned


def _target(declared: Declared, bundle: Bundle, directory: Path | None) -> SourceModel:
    if directory is not None:
        return read_model_directory(directory)
    return _read(declared.spec.model, declared, bundle, ", or give --model-config DIR")


def _draft(declared: Declared, bundle: Bundle) -> SourceModel | None:
    draft = declared.spec.speculation.draft_model
    return None if draft is None else _read(draft, declared, bundle)


def _trace(declared: Declared, bundle: Bundle) -> RecordedTrace | None:
    source = declared.spec.workload.trace
    if source is None:
        return None
    reference, namespace = source.config_map_key_ref, declared.resource.namespace
    if (namespace, reference.name) not in bundle.config_maps:
        raise NamedTraceError(
            NOT_FOUND,
            f"the ConfigMap {namespace}/{reference.name} with the key {reference.key} is not among "
            "the documents given: add it to them, as plimsoll trace FILE -o configmap --name "
            f"{reference.name} prints it",
        )
    return named_trace(bundle.config_map(namespace, reference.name), reference, namespace)


def _read(
    model: ModelSource, declared: Declared, bundle: Bundle, otherwise: str = ""
) -> SourceModel:
    if model.config_from is None:
        return read_model_config(model.source, model.revision)
    reference = model.config_from.config_map_key_ref
    data: Mapping[str, Any] = bundle.config_map(declared.resource.namespace, reference.name)
    text = data.get(reference.key)
    if not isinstance(text, str):
        raise ModelSourceError(
            f"the ConfigMap {declared.resource.namespace}/{reference.name} with the key "
            f"{reference.key} is not among the documents given: add it to them{otherwise}"
        )
    return parse_config(text, f"ConfigMap {reference.name}")
