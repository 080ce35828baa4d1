"""What an edit changes, and what the operator would do about it."""

import io
from dataclasses import replace
from typing import Any

import pytest
import yaml

from plimsoll_operator.engines.engine_support import ENGINE
from plimsoll_operator.planning.bundle import Bundle, bundle_of
from plimsoll_operator.planning.checks import Check
from plimsoll_operator.planning.comparison import Change, Kind, compare, costs_more
from plimsoll_operator.planning.documents import read_documents
from plimsoll_operator.planning.inventory import Inventory
from plimsoll_operator.planning.offline import plan_bundle
from plimsoll_operator.planning.status import plan_status
from plimsoll_operator.plans.choice import inputs_hash
from plimsoll_operator.reports.comparison_report import changes_as_text
from plimsoll_planner.inputs import AcceleratorPool

POOLS = (
    AcceleratorPool("NVIDIA-L4", 4, 2, price_per_hour=0.8),
    AcceleratorPool("NVIDIA-H200", 8, 1, price_per_hour=4.2),
)
CONFIG = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
"intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
"num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192}"""
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "facts", "namespace": "ml"},
    "data": {"config.json": CONFIG},
}
# With a bound on cost, since then fewer ways out are looked for.
TOO_FAST = {"timePerOutputToken": {"p95": "1ms"}, "maxCostPerMillionTokens": "1000"}


def deployment(
    name: str = "chat", rate: str = "8", namespace: str = "ml", **spec: Any
) -> dict[str, Any]:
    """On L4 unless told otherwise, with a promise that it keeps."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": {
            "model": {"source": "pvc://x", "configFrom": {"configMapKeyRef": {"name": "facts"}}},
            "workload": {"requestsPerSecond": rate},
            "slo": {"timePerOutputToken": {"p95": "50ms"}},
            "accelerators": {"allow": ["NVIDIA-L4"]},
            "scaling": {"maxReplicas": 8},
            **spec,
        },
    }


def bundle(*documents: dict[str, Any]) -> Bundle:
    maps = [CONFIG_MAP, {**CONFIG_MAP, "metadata": {"name": "facts"}}]
    text = yaml.safe_dump_all([*documents, *maps])
    return bundle_of(read_documents(["-"], io.StringIO(text)))


def running(document: dict[str, Any], **status: Any) -> dict[str, Any]:
    """As the cluster prints it once its plan is in force."""
    (planned,) = plan_bundle(bundle(document), Inventory(stated=POOLS))
    plan = plan_status(planned.result)
    assert plan is not None
    fields = plan.model_dump(by_alias=True, exclude_none=True)
    in_force = {"plan": fields, "planInputs": inputs_hash(planned.request), "planFeasible": True}
    return {**document, "status": in_force | status}


def one(old: dict[str, Any], new: dict[str, Any], pools: Any = POOLS) -> Change:
    (change,) = compare(bundle(old), bundle(new), Inventory(stated=pools))
    return change


def fields(change: Change) -> set[str]:
    return {item.field for item in (*change.declared, *change.planned)}


def test_nothing_changes() -> None:
    change = one(deployment(), deployment())
    assert (change.kind, change.failed) == (Kind.UNCHANGED, frozenset())
    assert change.rollout.text == "no pod restarts"
    assert not costs_more([change])
    assert changes_as_text([change]).startswith("  together    1 unchanged; no engine pod restarts")


def test_more_load_scales_and_restarts_nothing() -> None:
    change = one(deployment(), deployment(rate="40"))
    assert change.kind is Kind.CHANGED
    assert {"workload.requestsPerSecond", "replicas"} <= fields(change)
    assert not change.rollout.restarts
    assert "more engine pod" in change.rollout.text
    assert costs_more([change])


def test_less_load_leaves_it_to_the_autoscaler() -> None:
    change = one(deployment(rate="40"), deployment())
    assert not change.rollout.restarts
    assert "the autoscaler lets" in change.rollout.text
    assert not costs_more([change])


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"pin": {"maxNumSeqs": 2048}}, "maxNumSeqs"),
        ({"accelerators": {"allow": ["NVIDIA-H200"]}}, "accelerator"),
    ],
)
def test_another_plan_restarts(spec: dict[str, Any], field: str) -> None:
    change = one(deployment(), deployment(**spec))
    assert field in fields(change)
    assert change.rollout.restarts
    assert change.failed == {Check.RESTART}


def test_a_pod_restarts_for_what_is_not_in_the_plan_too() -> None:
    model = deployment()["spec"]["model"] | {"servedName": "other"}
    change = one(deployment(), deployment(model=model))
    assert change.planned == ()
    assert [item.field for item in change.declared] == ["model.servedName"]
    assert change.rollout.restarts


def test_what_only_the_operator_reads_restarts_nothing() -> None:
    change = one(deployment(), deployment(scaling={"maxReplicas": 7}))
    assert change.kind is Kind.CHANGED
    assert change.rollout.text == "no pod restarts"


def test_a_plan_stands_whatever_the_nodes_have_become() -> None:
    """As in the cluster: the free plan would now be another, but nothing was edited."""
    old = running(deployment(accelerators={}))
    more = (*POOLS, AcceleratorPool("NVIDIA-L40S", 8, 4, price_per_hour=0.01))
    assert one(old, deployment(accelerators={}), more).kind is Kind.UNCHANGED
    assert one(deployment(accelerators={}), deployment(accelerators={}, rate="9"), more).planned


def test_what_runs_counts_not_what_was_planned() -> None:
    old = running(deployment(), replicas=5)
    assert "autoscaler" in one(old, deployment(rate="9")).rollout.text
    more = deployment(pin={"maxNumSeqs": 2048})
    assert one(old, more).rollout.text.startswith("replaces 5 ")


def test_lower_limits_are_taken_without_a_restart() -> None:
    change = one(deployment(), deployment(rate="4", pin={"maxNumSeqs": 64}))
    assert "maxNumSeqs" in fields(change)
    assert not change.rollout.restarts
    assert change.rollout.text.endswith("; running pods take the new limits as they serve")


def test_with_an_autoscaler_outside_replicas_are_its_own() -> None:
    scaling = {"maxReplicas": 8, "mode": "External"}
    old = running(deployment(scaling=scaling, replicas=3), replicas=3)
    new = deployment(rate="40", scaling=scaling, replicas=3)
    assert one(old, new).rollout.text == "no pod restarts"


def test_a_promise_that_cannot_hold_leaves_what_runs() -> None:
    change = one(deployment(), deployment(slo=TOO_FAST))
    assert change.failed == {Check.SLO}
    assert change.planned == ()
    assert change.old_cost == change.new_cost
    assert change.rollout.text == "what runs stays as it is: its SLO cannot hold"
    assert "timePerOutputToken p95 1.0ms" in change.problem
    best_effort = deployment(slo=TOO_FAST | {"whenInfeasible": "BestEffort"})
    change = one(deployment(), best_effort)
    assert change.failed == {Check.SLO, Check.RESTART}
    assert change.problem


def test_one_that_never_held_is_shown_even_if_nothing_changed() -> None:
    never = deployment(slo={"maxCostPerMillionTokens": "0.0001"})
    change = one(never, never)
    assert (change.kind, change.failed) == (Kind.UNCHANGED, frozenset({Check.COST}))
    assert change.rollout.text == "no pod is started: its SLO cannot hold"
    assert "chat   unchanged, SLO cannot hold" in changes_as_text([change])


def test_one_that_never_held_starts_pods_when_it_does() -> None:
    never = deployment(slo=TOO_FAST)
    change = one(never, deployment())
    assert change.old_cost == 0
    assert change.rollout.text.startswith("starts ")
    assert change.failed == frozenset()


def test_more_than_the_engine_runs_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = replace(ENGINE, max_tensor_parallel_size=1)
    monkeypatch.setattr("plimsoll_operator.plans.choice.ENGINE", limited)
    change = one(deployment(), deployment(pin={"tensorParallelSize": 2}))
    assert not change.rollout.restarts
    assert change.rollout.text.startswith("what runs stays as it is: the plan L4×2")
    assert change.planned == ()


def test_what_is_new_and_what_is_gone() -> None:
    new, gone = compare(
        bundle(deployment("old")), bundle(deployment("new")), Inventory(stated=POOLS)
    )
    assert (new.kind, gone.kind) == (Kind.ADDED, Kind.REMOVED)
    assert (new.old_cost, gone.new_cost) == (0, 0)
    assert new.rollout.text.startswith("starts ")
    assert gone.rollout.text.startswith("drains and ends ")
    assert not costs_more([new, gone])
    assert costs_more([new])


def test_a_side_without_namespaces_is_matched_by_name() -> None:
    assert one(deployment(), deployment(namespace="")).kind is Kind.UNCHANGED
    assert one(deployment(namespace=""), deployment()).kind is Kind.UNCHANGED
    two = bundle(deployment(namespace="default"), deployment())
    kinds = {
        c.title: c.kind
        for c in compare(two, bundle(deployment(namespace="")), Inventory(stated=POOLS))
    }
    assert kinds == {"chat": Kind.UNCHANGED, "ml/chat": Kind.REMOVED}


def test_without_prices_nobody_can_say_that_it_costs_no_more() -> None:
    free = tuple(AcceleratorPool(p.accelerator, p.count, p.nodes) for p in POOLS)
    change = one(deployment(), deployment(rate="40"), free)
    assert (change.old_cost, change.new_cost) == (None, None)
    assert costs_more([change])
    assert not costs_more([one(deployment(), deployment(), free)])
    assert "unknown" in changes_as_text([change])


def test_a_plan_on_a_gpu_that_has_gone_has_no_price() -> None:
    old = running(deployment())
    change = one(old, deployment(rate="9", accelerators={}), POOLS[1:])
    assert (change.old_cost, change.rollout.restarts) == (None, True)
    assert "→ NVIDIA-H200" in changes_as_text([change])


def test_what_the_engines_have_measured_goes_into_the_new_plan() -> None:
    measured = {
        "accelerator": "NVIDIA-L4",
        "model": "pvc://x",
        "stepOverhead": "20ms",
        "error": "0.02",
        "samples": 800,
        "measuredAt": "2026-01-31T12:00:00Z",
    }
    old, slow = running(deployment()), running(deployment(), calibration=measured)
    edited = deployment(rate="9")
    plain, told = (
        {
            item.field: item
            for item in compare(bundle(before), bundle(edited), Inventory(stated=POOLS))[0].planned
        }
        for before in (old, slow)
    )
    assert "TPOT p95" not in plain
    slower = told["TPOT p95"]
    assert (
        float(str(slower.new).removesuffix("ms")) > float(str(slower.old).removesuffix("ms")) + 10
    )
