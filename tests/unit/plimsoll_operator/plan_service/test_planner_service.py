"""What cannot be planned is not asked for at every look; an edit asks at once."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from plimsoll_operator.kube.store import Store
from plimsoll_operator.plan_service import model_reader, plan_process
from plimsoll_operator.plan_service.planner_service import PlannerService
from plimsoll_operator.plan_service.trace_reader import TraceReader
from plimsoll_operator.planning.model_source import ModelSourceError, SourceModel
from plimsoll_operator.plans.choice import Standing
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult
from plimsoll_runtime import builtin
from tests.unit.plimsoll_operator.samples import raw_resource, resource


@dataclass
class Hub:
    """Answers every question for a model with the same failure."""

    failure: ModelSourceError
    now: float = 1000.0
    asked: list[float] = field(default_factory=list)

    def read(self, source: str, revision: str | None) -> SourceModel:
        self.asked.append(self.now)
        raise self.failure


Hubs = Callable[[ModelSourceError], Hub]
SPEC = {"model": {"source": "hf://org/name", "revision": "0" * 40}}


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch) -> Hubs:
    def make(failure: ModelSourceError) -> Hub:
        hub = Hub(failure)
        monkeypatch.setattr(model_reader, "read_model_config", hub.read)
        monkeypatch.setattr(model_reader, "monotonic", lambda: hub.now)
        return hub

    return make


async def no_config_map(namespace: str, name: str, key: str) -> str | None:
    return None


async def nothing(namespace: str, name: str) -> None:
    return None


NO_TRACES = TraceReader(nothing, nothing)


async def look(service: PlannerService, generation: int = 1) -> Standing:
    return await service.standing(resource(spec=SPEC, metadata={"generation": generation}))


async def test_what_a_hub_does_not_have_is_asked_for_less_and_less(hubs: Hubs) -> None:
    hub = hubs(ModelSourceError("HTTP 404: no such model"))
    service = PlannerService(Store(), no_config_map, NO_TRACES, 0)
    for _ in range(40):
        answer = await look(service)
        assert answer.trouble is not None
        assert answer.trouble.reason == "ModelConfigUnavailable"
        assert answer.trouble.message == "HTTP 404: no such model"
        assert not answer.trouble.transient
        hub.now += 60
    assert [at - 1000 for at in hub.asked] == [0, 60, 180, 420, 900, 1500, 2100]


async def test_an_edit_asks_at_once(hubs: Hubs) -> None:
    hub = hubs(ModelSourceError("HTTP 401: the model is private or gated"))
    service = PlannerService(Store(), no_config_map, NO_TRACES, 0)
    for generation in (1, 1, 2, 2, 3):
        await look(service, generation)
    assert len(hub.asked) == 3
    service.forget(raw_resource()["metadata"]["uid"])
    await look(service, 3)
    assert len(hub.asked) == 4


async def test_a_network_that_is_down_is_tried_at_every_look(hubs: Hubs) -> None:
    hub = hubs(ModelSourceError("connection refused", transient=True))
    service = PlannerService(Store(), no_config_map, NO_TRACES, 0)
    for _ in range(3):
        answer = await look(service)
        assert answer.trouble is not None
        assert answer.trouble.transient
    assert len(hub.asked) == 3


async def test_a_failure_to_plan_is_an_answer_that_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def fail(request: PlanRequest, trial_requests: int) -> PlanResult:
        asked.append(request)
        raise ValueError("kvCache FP8 needs attention kernels that are not there")

    monkeypatch.setattr(plan_process, "plan", fail)
    service = PlannerService(Store(), no_config_map, NO_TRACES, 0)
    for _ in range(3):
        answer = await service.standing(resource())
        assert answer.trouble is not None
        assert (answer.trouble.reason, answer.trouble.transient) == ("PlanningFailed", False)
        assert "attention kernels" in answer.trouble.message
    assert len(asked) == 1


async def test_a_process_that_ends_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def broken(_: plan_process.PlanProcess, request: PlanRequest) -> PlanResult:
        asked.append(request)
        raise plan_process.PlanProcessError("the process that plans has ended")

    monkeypatch.setattr(plan_process.PlanProcess, "plan", broken)
    service = PlannerService(Store(), no_config_map, NO_TRACES, 50)
    for _ in range(2):
        answer = await service.standing(resource())
        assert answer.trouble is not None
        assert (answer.trouble.reason, answer.trouble.transient) == ("PlanningFailed", True)
        assert "has ended" in answer.trouble.message
    assert len(asked) == 2


async def test_equal_questions_are_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def counted(process: plan_process.PlanProcess, request: PlanRequest) -> PlanResult:
        asked.append(process)
        return plan(request, process.trial_requests)

    monkeypatch.setattr(plan_process.PlanProcess, "plan", counted)
    store = Store()
    allocatable = {"cpu": "2", "memory": "8Gi"}
    metadata = {"name": "n", "uid": "n", "resourceVersion": "1"}
    store.put("Node", {"metadata": metadata, "status": {"allocatable": allocatable}})
    service = PlannerService(store, no_config_map, NO_TRACES, 50)
    answers = [await service.standing(resource(metadata={"name": name})) for name in ("a", "b")]
    assert len(asked) == 1
    for answer in answers:
        assert answer.plan is not None
        assert answer.plan.predicted.simulated is not None
        assert answer.plan.predicted.simulated.requests == 50


async def test_a_price_that_comes_later_is_planned_with() -> None:
    store = Store()
    node = {
        "metadata": {"name": "n", "uid": "n", "resourceVersion": "1"},
        "status": {"allocatable": {"cpu": "2", "memory": "8Gi"}},
    }
    store.put("Node", node)
    service = PlannerService(store, no_config_map, NO_TRACES, 0)
    first = await service.standing(resource())
    assert first.plan is not None
    assert first.plan.predicted.cost_per_million_tokens is None
    accelerator = {
        "metadata": {"name": "cpu", "uid": "c", "resourceVersion": "2"},
        "spec": {"products": ["cpu"], "pricePerHour": "0.03"},
    }
    store.put("Accelerator", accelerator)
    second = await service.standing(resource())
    assert second.plan is not None
    assert second.plan.predicted.cost_per_million_tokens is not None
    # What a plan stands by is the same, so that one in force would not have moved.
    assert first.inputs == second.inputs


async def test_a_draft_model_is_read_as_the_model_is_and_must_fit_it() -> None:
    config = json.loads((builtin.path("tiny") / "config.json").read_text())
    texts: dict[str, str] = {}

    async def config_map(namespace: str, name: str, key: str) -> str | None:
        assert (namespace, key) == ("ml", "config.json")
        return texts.get(name)

    store = Store()
    allocatable = {"cpu": "2", "memory": "8Gi"}
    metadata = {"name": "n", "uid": "n", "resourceVersion": "1"}
    store.put("Node", {"metadata": metadata, "status": {"allocatable": allocatable}})
    service = PlannerService(store, config_map, NO_TRACES, 0)
    reference = {"configMapKeyRef": {"name": "draft"}}
    draft = {"source": "pvc://claim/draft", "configFrom": reference}
    pin = {"maxNumSeqs": 8, "maxNumBatchedTokens": 256}
    speculation = {"method": "DraftModel", "draftModel": draft}
    drafting = resource(spec={"speculation": speculation, "pin": pin})

    absent = await service.standing(drafting)
    assert absent.trouble is not None
    assert absent.trouble.reason == "ModelConfigUnavailable"
    assert absent.trouble.message.startswith("draft model: ConfigMap draft, key config.json: there")
    assert absent.trouble.transient

    texts["draft"] = json.dumps(config | {"vocab_size": 97})
    unfit = await service.standing(drafting)
    assert unfit.trouble is not None
    assert unfit.trouble.reason == "PlanningFailed"
    assert "a vocabulary of 97 tokens and the model one of 2048" in unfit.trouble.message

    texts["draft"] = json.dumps(config)
    answer = await service.standing(drafting)
    assert answer.plan is not None
    plain = await service.standing(resource(spec={"pin": pin}))
    assert plain.plan is not None
    assert answer.inputs != plain.inputs
    assert answer.plan.memory_bytes > plain.plan.memory_bytes


async def test_a_hub_that_lacks_the_draft_model_is_asked_less_and_less(hubs: Hubs) -> None:
    async def config_map(namespace: str, name: str, key: str) -> str | None:
        return (builtin.path("tiny") / "config.json").read_text()

    hub = hubs(ModelSourceError("HTTP 404: no such model"))
    service = PlannerService(Store(), config_map, NO_TRACES, 0)
    model = {"source": "pvc://claim", "configFrom": {"configMapKeyRef": {"name": "facts"}}}
    draft = {"source": "hf://org/draft", "revision": "0" * 40}
    spec = {"model": model, "speculation": {"method": "DraftModel", "draftModel": draft}}
    for _ in range(3):
        answer = await service.standing(resource(spec=spec))
        assert answer.trouble is not None
        assert answer.trouble.message == "draft model: HTTP 404: no such model"
    assert len(hub.asked) == 1
