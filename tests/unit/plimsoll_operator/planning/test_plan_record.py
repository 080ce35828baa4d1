"""A record plans again, alone, to what was planned; and is nothing but data."""

import json
from dataclasses import replace
from typing import Any

import pytest

from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.planning.accelerators import overrides, verdicts
from plimsoll_operator.planning.model_source import SourceModels, parse_config, read_model_config
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.revisions import record as records
from plimsoll_operator.revisions.record import RecordError, Sources, record, request_of, used
from plimsoll_planner.inputs import AcceleratorPool
from plimsoll_planner.planner import plan
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.recorded_trace import RecordedTrace

POOLS = (
    AcceleratorPool("cpu", 4, 2, 16 * 2**30, 0.04, spot=True),
    AcceleratorPool("NVIDIA-L40S", 8, 1, shared=True),
)
RESOURCES: tuple[dict[str, Any], ...] = (
    {"metadata": {"name": "cpu"}, "spec": {"products": ["cpu"], "pricePerHour": "0.03"}},
    {"metadata": {"name": "bad"}, "spec": {"products": ["a product without figures"]}},
)
SPEC = {
    "model": {"source": "builtin://tiny"},
    "workload": {"requestsPerSecond": "500m"},
    "slo": {"timeToFirstToken": {"p95": "5s"}, "timePerOutputToken": {"p95": "500ms"}},
    "accelerators": {"allow": ["cpu"]},
    "replicas": 3,
    "scaling": {"mode": "External", "maxReplicas": 3},
}


def sources() -> Sources:
    found = used(RESOURCES)
    models = SourceModels(read_model_config("builtin://tiny"))
    return Sources(parse_spec(SPEC), 7, models, POOLS, found, (), "0.1.0")


def drafting() -> Sources:
    tiny = read_model_config("builtin://tiny")
    speculation = {"method": "DraftModel", "draftModel": {"source": "builtin://tiny"}}
    spec = parse_spec({**SPEC, "speculation": speculation})
    return replace(sources(), spec=spec, models=SourceModels(tiny, tiny))


@pytest.mark.parametrize("given", [sources(), drafting()], ids=["alone", "drafting"])
def test_a_record_is_asked_again_as_it_was(given: Sources) -> None:
    known = overrides(verdicts(given.accelerators))
    request = plan_request(
        given.spec, given.models.target.model, POOLS, known, given.models.draft_model
    )
    result = plan(request)
    back = json.loads(json.dumps(record(given)))
    assert request_of(back) == request
    assert plan(request_of(back)) == result
    assert [item["metadata"]["name"] for item in back["accelerators"]] == ["cpu"]
    assert (back["generation"], back["planner"]) == (7, "0.1.0")
    assert "recordedLater" not in back
    # What an autoscaler writes is not what was planned for.
    assert "replicas" not in back["spec"]


def test_a_large_config_is_only_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_CONFIG_BYTES", 100)
    kept = record(sources())
    assert "config" not in kept["model"]
    assert len(kept["model"]["configSha256"]) == 64
    with pytest.raises(RecordError, match="was not kept"):
        request_of(kept)


def test_a_draft_model_that_does_not_fit_any_more_is_said() -> None:
    kept = json.loads(json.dumps(record(drafting())))
    assert kept["draftModel"]["configSha256"] == kept["model"]["configSha256"]
    kept["draftModel"]["config"]["vocab_size"] += 1
    with pytest.raises(RecordError, match="vocabulary"):
        request_of(kept)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("spec"),
        lambda data: data["spec"].update(unheardOf=1),
        lambda data: data["inventory"].append({"unheardOf": 1}),
        lambda data: data["model"].update(config={"model_type": "unheard of"}),
        lambda data: data.update(model=None),
    ],
)
def test_what_cannot_be_read_is_said(damage: Any) -> None:
    data = json.loads(json.dumps(record(sources())))
    damage(data)
    with pytest.raises(RecordError):
        request_of(data)


def test_equal_configs_have_equal_records() -> None:
    model = read_model_config("builtin://tiny")
    shuffled = dict(reversed(json.loads(model.config).items()))
    assert parse_config(json.dumps(shuffled, indent=1), "x").config == model.config


def test_a_trace_is_kept_with_it() -> None:
    trace = RecordedTrace.of([Arrival(i / 2, 100, 10) for i in range(100)])
    workload = {"trace": {"configMapKeyRef": {"name": "traffic"}}}
    given = replace(sources(), spec=parse_spec({**SPEC, "workload": workload}), trace=trace)
    kept = json.loads(json.dumps(record(given)))
    assert request_of(kept).workload.trace == trace
    assert request_of(kept).workload.requests_per_second == pytest.approx(2.0)
    del kept["trace"]["requests"]
    with pytest.raises(RecordError, match="was not kept"):
        request_of(kept)
