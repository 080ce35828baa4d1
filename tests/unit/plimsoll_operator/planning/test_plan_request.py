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
