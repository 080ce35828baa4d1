from dataclasses import replace
from typing import Any

import pytest

from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.planning.request import plan_request
from plimsoll_planner.inputs import AcceleratorPool, Lengths, Objectives, Pin
from tests.unit.plimsoll_planner.models import TINY

POOLS = (AcceleratorPool("cpu", 2, 1),)


def test_every_field_arrives() -> None:
    spec = parse_spec(
        {
            "model": {"source": "builtin://tiny", "maxContextLength": 1024},
            "workload": {
                "requestsPerSecond": "2500m",
                "promptTokens": {"mean": 100, "p95": 300},
                "outputTokens": {"mean": 50},
                "sharedPrefixTokens": 20,
            },
            "slo": {
                "timeToFirstToken": {"p95": "800ms"},
                "timePerOutputToken": {"p95": "1.5s"},
                "maxCostPerMillionTokens": "0.60",
                "whenInfeasible": "BestEffort",
            },
            "accelerators": {"allow": ["cpu"], "maxPerReplica": 4},
            "precision": {"weights": "BF16", "kvCache": "BF16"},
            "scaling": {"minReplicas": 2, "maxReplicas": 5},
            "pin": {
                "tensorParallelSize": 1,
                "maxNumSeqs": 8,
                "maxNumBatchedTokens": 256,
                "kvCacheMemory": "64Mi",
            },
        }
    )
    request = plan_request(spec, TINY, POOLS)
    assert request.workload.requests_per_second == 2.5
    assert request.workload.prompt_tokens == Lengths(100, 300)
    assert request.workload.output_tokens == Lengths(50, 100)
    assert request.workload.shared_prefix_tokens == 20
    assert request.objectives == Objectives(0.8, 1.5, 0.6)
    assert request.allow == ("cpu",)
    assert request.max_accelerators_per_replica == 4
    assert (request.weights_precision, request.kv_cache_precision) == ("BF16", "BF16")
    assert (request.min_replicas, request.max_replicas) == (2, 5)
    assert request.best_effort
    assert request.max_context_length == 1024
    assert request.pin == Pin(1, 8, 256, 64 * 2**20)
    assert request.inventory == POOLS


def test_a_bare_spec_promises_nothing() -> None:
    request = plan_request(parse_spec({"model": {"source": "builtin://tiny"}}), TINY, POOLS)
    assert request.objectives == Objectives()
    assert request.pin == Pin()
    assert not request.best_effort


@pytest.mark.parametrize(
    "workload",
    [
        {"promptTokens": {"mean": 1921}},  # with 128 of output
        {"outputTokens": {"mean": 2000}},
        {"promptTokens": {"mean": 2000}, "outputTokens": {"mean": 49}},
    ],
)
def test_lengths_that_the_model_cannot_take_are_told(workload: dict[str, Any]) -> None:
    spec = parse_spec({"model": {"source": "builtin://tiny"}, "workload": workload})
    with pytest.raises(ValueError, match="more than the model's context of 2048: lower prompt"):
        plan_request(spec, TINY, POOLS)


def test_a_context_longer_than_the_models_is_told() -> None:
    spec = parse_spec({"model": {"source": "builtin://tiny", "maxContextLength": 2049}})
    with pytest.raises(
        ValueError, match=r"maxContextLength: 2049: the model's own context is 2048"
    ):
        plan_request(spec, TINY, POOLS)
    spec = parse_spec({"model": {"source": "builtin://tiny", "maxContextLength": 2048}})
    assert plan_request(spec, TINY, POOLS).max_context_length == 2048


def test_lengths_that_nobody_declared_are_cut_to_the_model() -> None:
    short = replace(TINY, max_position_embeddings=512)
    spec = parse_spec({"model": {"source": "builtin://tiny"}})
    assert plan_request(spec, short, POOLS).workload.prompt_tokens.mean == 512
    just = {"promptTokens": {"mean": 500}, "outputTokens": {"mean": 12}}
    spec = parse_spec({"model": {"source": "builtin://tiny"}, "workload": just})
    assert plan_request(spec, short, POOLS).workload.prompt_tokens.mean == 500
