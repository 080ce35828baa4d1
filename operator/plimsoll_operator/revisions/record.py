"""What a plan was made from, as plain data that a later look can plan again.

A record holds all that the planner was asked, config.json included, so that it needs neither the
nodes nor the hub of that day.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel, to_snake

from plimsoll_operator.api.spec import LLMDeploymentSpec, ModelSource, WhenInfeasible
from plimsoll_operator.api.status import MeasuredCalibration
from plimsoll_operator.api.validate import InvalidSpecError, parse_spec
from plimsoll_operator.calibration.measured import with_measured
from plimsoll_operator.planning.accelerators import overrides, verdicts
from plimsoll_operator.planning.model_source import (
    ModelSourceError,
    SourceModel,
    SourceModels,
    parse_config,
)
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.revisions.kept_trace import pack_trace, unpack_trace
from plimsoll_planner.inputs import AcceleratorPool, PlanRequest
from plimsoll_planner.models.model import Model
from plimsoll_planner.simulation.recorded_trace import RecordedTrace

MAX_CONFIG_BYTES = 1 << 16
"""Of a config.json that is kept whole; of a larger one only the hash is."""

Data = dict[str, Any]


class RecordError(Exception):
    """A record cannot be planned again; the message says why."""


@dataclass(frozen=True)
class Sources:
    """All that a plan is made from, as it was read. `accelerators` are Accelerator resources that
    were used, `measured` is what engines had measured, `planner` is the version of the planner,
    `trace` what spec.workload.trace named, `reserves` those of the request."""

    spec: LLMDeploymentSpec
    generation: int
    models: SourceModels
    pools: tuple[AcceleratorPool, ...]
    accelerators: tuple[Mapping[str, Any], ...]
    measured: tuple[MeasuredCalibration, ...]
    planner: str
    trace: RecordedTrace | None = None
    reserves: tuple[tuple[str, int], ...] = ()


def record(sources: Sources, *, later: bool = False, feasible: bool = True) -> Data:
    """What a plan was made from.

    `later` marks one that was made for a plan that stood already: its nodes are those of now. Where
    plans may miss the SLO, it says whether this one is `feasible`.
    """
    spec, models = sources.spec, sources.models
    inputs: Data = {
        "generation": sources.generation,
        "spec": spec.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"replicas"}
        ),
        "model": _identity(spec.model, models.target),
        "inventory": [_fields(pool) for pool in sources.pools],
        "accelerators": [_accelerator(item) for item in sources.accelerators],
        "planner": sources.planner,
    }
    draft = spec.speculation.draft_model
    if draft is not None and models.draft is not None:
        inputs["draftModel"] = _identity(draft, models.draft)
    if sources.measured:
        inputs["measured"] = [
            item.model_dump(by_alias=True, exclude_none=True) for item in sources.measured
        ]
    if sources.trace is not None:
        inputs["trace"] = pack_trace(sources.trace)
    if sources.reserves:
        inputs["reserves"] = [list(each) for each in sources.reserves]
    if spec.slo.when_infeasible is WhenInfeasible.BEST_EFFORT:
        inputs["feasible"] = feasible
    if later:
        inputs["recordedLater"] = True
    return inputs


def spec_of(inputs: Mapping[str, Any]) -> LLMDeploymentSpec:
    """The spec in a record's inputs. Raises RecordError."""
    try:
        return parse_spec(inputs["spec"])
    except (KeyError, InvalidSpecError) as error:
        raise RecordError(
            f"this version cannot read the spec that was recorded: {error}"
        ) from error


def measured_of(inputs: Mapping[str, Any]) -> tuple[MeasuredCalibration, ...]:
    """What engines had measured, of a record's inputs. Raises RecordError."""
    try:
        found = inputs.get("measured") or ()
        return tuple(MeasuredCalibration.model_validate(item, extra="forbid") for item in found)
    except (TypeError, ValidationError) as error:
        raise RecordError(f"this version cannot read what was recorded: {error}") from error


def request_of(inputs: Mapping[str, Any]) -> PlanRequest:
    """What the planner was asked, from a record's inputs. Raises RecordError."""
    spec = spec_of(inputs)
    try:
        target = _model(inputs["model"])
        draft = _model(inputs["draftModel"]) if "draftModel" in inputs else None
        pools = tuple(
            AcceleratorPool(**{to_snake(key): value for key, value in pool.items()})
            for pool in inputs["inventory"]
        )
        accelerators = with_measured(
            overrides(verdicts(inputs["accelerators"])), measured_of(inputs)
        )
        reserves = tuple((str(name), int(size)) for name, size in inputs.get("reserves") or ())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RecordError(f"not a record of a plan's inputs: {error!r}") from error
    try:
        trace = unpack_trace(inputs["trace"]) if "trace" in inputs else None
        asked = plan_request(spec, target, pools, accelerators, draft, trace=trace)
    except ValueError as error:
        raise RecordError(f"this version cannot plan what was recorded: {error}") from error
    return replace(asked, reserves=reserves)


def _identity(model: ModelSource, found: SourceModel) -> Data:
    config = found.config.encode()
    identity: Data = {
        "source": model.source,
        "architecture": found.model.architecture,
        "configSha256": hashlib.sha256(config).hexdigest(),
    }
    if model.revision is not None:
        identity["revision"] = model.revision
    if 0 < len(config) <= MAX_CONFIG_BYTES:
        identity["config"] = json.loads(found.config)
    return identity


def _model(identity: Mapping[str, Any]) -> Model:
    source = str(identity["source"])
    if "config" not in identity:
        raise RecordError(
            f"config.json of {source} is larger than {MAX_CONFIG_BYTES} bytes and was not kept"
        )
    try:
        return parse_config(json.dumps(identity["config"]), source).model
    except ModelSourceError as error:
        raise RecordError(f"this version cannot read what was recorded: {error}") from error


def _fields(pool: AcceleratorPool) -> Data:
    found = asdict(pool).items()
    return {to_camel(key): value for key, value in found if value not in (None, False)}


def _accelerator(item: Mapping[str, Any]) -> Data:
    return {"metadata": {"name": item["metadata"]["name"]}, "spec": item["spec"]}


def used(items: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The Accelerator resources that plans use, in name order."""
    found = list(items)
    accepted = {verdict.name for verdict in verdicts(found) if verdict.accelerator is not None}
    chosen = [item for item in found if str(item["metadata"]["name"]) in accepted]
    return tuple(sorted(chosen, key=lambda item: str(item["metadata"]["name"])))
