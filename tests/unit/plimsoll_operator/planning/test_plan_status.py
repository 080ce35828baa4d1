from dataclasses import replace

from plimsoll_operator.planning.status import (
    decimal_string,
    feasibility,
    plan_status,
    revision,
    summary,
)
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan, Prediction
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models import CPU_NODE, request_for

PLAN = Plan(
    accelerator="NVIDIA-H200",
    cpu_cores=None,
    tensor_parallel_size=2,
    pipeline_parallel_size=1,
    weights_precision="BF16",
    kv_cache_precision="BF16",
    max_num_seqs=64,
    max_num_batched_tokens=2048,
    max_model_len=8192,
    kv_cache_bytes=10 * 2**30,
    kv_cache_tokens=163840,
    memory_bytes=100 * 2**30,
    replicas=2,
    predicted=Prediction(0.1234, 0.0087, 3.1, None),
    binding_constraint="nothing",
    resource="nvidia.com/gpu",
)


def test_summaries() -> None:
    assert summary(PLAN) == "H200×2 bs64"
    half = replace(PLAN, accelerator="cpu", cpu_cores=0.5, tensor_parallel_size=1, max_num_seqs=8)
    assert summary(half) == "cpu×0.5 bs8"
    assert summary(replace(PLAN, accelerator="Tesla-T4")) == "T4×2 bs64"


def test_revision_is_stable_and_short() -> None:
    assert revision(PLAN) == revision(replace(PLAN))
    assert len(revision(PLAN)) == 10


def test_revision_follows_what_the_engine_is_started_with() -> None:
    engine = {
        "accelerator": "NVIDIA-L4",
        "cpu_cores": 2.0,
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 2,
        "weights_precision": "FP32",
        "kv_cache_precision": "FP32",
        "max_num_seqs": 32,
        "max_num_batched_tokens": 512,
        "max_model_len": 4096,
        "kv_cache_bytes": 2**30,
        "memory_bytes": 2**31,
    }
    changed = {revision(replace(PLAN, **{name: value})) for name, value in engine.items()}
    assert len(changed | {revision(PLAN)}) == len(engine) + 1


def test_revision_ignores_scale_and_predictions() -> None:
    other = replace(
        PLAN, replicas=5, predicted=Prediction(1, 1, 1, 1), binding_constraint="something"
    )
    assert revision(other) == revision(PLAN)


def test_status_has_strings_for_what_has_fractions() -> None:
    result = plan(request_for(models.TINY, CPU_NODE, rate=1, context=1024))
    status = plan_status(result)
    assert status is not None
    dumped = status.model_dump(by_alias=True, exclude_none=True)
    assert dumped["cpuCores"] == "0.5"
    assert dumped["predicted"]["timeToFirstToken"]["p95"].endswith("ms")
    assert isinstance(dumped["predicted"]["requestsPerSecondPerReplica"], str)
    assert "costPerMillionTokens" not in dumped["predicted"]
    assert not any(isinstance(value, float) for value in dumped.values())
    assert feasibility(result) is None


def test_feasibility_says_why_and_what_would_do() -> None:
    result = plan(request_for(models.TINY, CPU_NODE, ttft=0.001, tpot=None, context=1024))
    found = feasibility(result)
    assert found is not None
    assert found.binding_constraint.startswith("timeToFirstToken p95 1.0ms")
    assert found.alternatives


def test_no_plan_is_no_status() -> None:
    assert plan_status(plan(replace(request_for(), inventory=()))) is None


def test_decimals() -> None:
    assert [decimal_string(v) for v in (0.5, 4.0, 3.1254, 100.0, 0.0004)] == [
        "0.5",
        "4",
        "3.125",
        "100",
        "0",
    ]
