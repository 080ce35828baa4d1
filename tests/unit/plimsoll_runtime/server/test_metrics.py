import asyncio
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from plimsoll_runtime.core.buckets import GAPS, LATENCIES
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.stats import SpeculationStats
from plimsoll_runtime.server.metrics import (
    MAX_QUEUES_SHOWN,
    Metrics,
    by_tenant,
)
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel

LABELS = {"model_name": "tiny", "engine": "0"}


async def scrape(http: httpx.AsyncClient) -> dict[str, float]:
    """Every sample; labels beyond the usual two are part of its name."""
    text = (await http.get("/metrics")).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            more = {key: value for key, value in sample.labels.items() if key not in LABELS}
            name = sample.name + "".join(f",{key}={value}" for key, value in sorted(more.items()))
            found[name] = sample.value
    return found


async def test_an_idle_server_exposes_vllms_names(http: httpx.AsyncClient) -> None:
    found = await scrape(http)
    for name in (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:num_preemptions_total",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:prompt_tokens_cached_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total,finished_reason=stop",
        "vllm:request_success_total,finished_reason=length",
        "vllm:request_success_total,finished_reason=abort",
        "vllm:time_to_first_token_seconds_count",
        "vllm:inter_token_latency_seconds_count",
        "vllm:request_time_per_output_token_seconds_count",
        "vllm:e2e_request_latency_seconds_count",
        "vllm:request_queue_time_seconds_count",
        "vllm:request_prefill_time_seconds_count",
        "vllm:request_decode_time_seconds_count",
        "vllm:request_inference_time_seconds_count",
        "vllm:request_prompt_tokens_count",
        "vllm:request_generation_tokens_count",
        "vllm:request_params_n_count",
        "vllm:request_params_max_tokens_count",
    ):
        assert found[name] == 0, name
    assert found["vllm:cache_config_info,block_size=16,num_gpu_blocks=64"] == 1


async def test_every_series_has_vllms_labels(http: httpx.AsyncClient) -> None:
    text = (await http.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["engine"] == "0"
            if family.name != "vllm:cache_config_info":
                assert sample.labels["model_name"] == "tiny"


async def test_an_answer_moves_them(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    ids = say("one two three four")
    answer = await http.post("/v1/completions", json={"prompt": [9] * 20, "max_tokens": 100})
    assert answer.status_code == 200
    await http.post("/v1/completions", json={"prompt": [9] * 20, "max_tokens": 2})
    found = await scrape(http)
    generated = len(ids) + 1 + 2
    assert found["vllm:prompt_tokens_total"] == 40
    assert found["vllm:generation_tokens_total"] == generated
    assert found["vllm:request_success_total,finished_reason=stop"] == 1
    assert found["vllm:request_success_total,finished_reason=length"] == 1
    assert found["vllm:time_to_first_token_seconds_count"] == 2
    assert found["vllm:inter_token_latency_seconds_count"] == generated - 2
    assert found["vllm:request_queue_time_seconds_count"] == 2
    assert found["vllm:request_generation_tokens_sum"] == generated
    assert found["vllm:request_params_max_tokens_sum"] == 102
    assert found["vllm:time_to_first_token_seconds_sum"] > 0
    total = found["vllm:e2e_request_latency_seconds_sum"]
    parts = [
        found[f"vllm:request_{part}_time_seconds_sum"] for part in ("queue", "prefill", "decode")
    ]
    assert abs(total - sum(parts)) < 1e-6
    gaps = found["vllm:inter_token_latency_seconds_sum"]
    assert abs(gaps - found["vllm:request_decode_time_seconds_sum"]) < 1e-6


async def test_running_and_waiting_are_those_of_now(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    spoken.gate.clear()
    tasks = [
        asyncio.ensure_future(http.post("/v1/completions", json={"prompt": [9] * 20, "n": 6}))
        for _ in range(2)
    ]
    while app.state.context.client.num_unfinished < 12:
        await asyncio.sleep(0.001)
    found = await scrape(http)
    assert found["vllm:num_requests_running"] + found["vllm:num_requests_waiting"] == 12
    assert 0 <= found["vllm:kv_cache_usage_perc"] <= 1
    spoken.gate.set()
    await asyncio.gather(*tasks)
    found = await scrape(http)
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert found["vllm:kv_cache_usage_perc"] == 0


def test_buckets_see_what_an_slo_of_milliseconds_needs() -> None:
    for buckets in (GAPS, LATENCIES):
        assert list(buckets) == sorted(set(buckets))
        assert buckets[0] == 0.001
    assert len([each for each in GAPS if each <= 0.01]) >= 5


def test_who_waits_is_shown_for_the_longest_queues_and_the_rest_as_one() -> None:
    waiting = (
        *(QueueCount("a", 0, 5, 50), QueueCount("b", -1, 3, 30), QueueCount("b", 0, 2, 20)),
        *(QueueCount("c", 0, 1, 10), QueueCount("a", 0, 1, 10)),
    )
    assert by_tenant(waiting, 9) == {("a", "0"): 6, ("b", "-1"): 3, ("b", "0"): 2, ("c", "0"): 1}
    assert by_tenant(waiting, 2) == {("a", "0"): 6, ("b", "-1"): 3, ("other", "other"): 3}
    assert by_tenant((), 2) == {}


async def test_a_thousand_tenants_are_a_bounded_number_of_series(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel
) -> None:
    spoken.gate.clear()
    tasks = [
        asyncio.ensure_future(
            http.post(
                "/v1/completions",
                json={"prompt": [9], "max_tokens": 1},
                headers={"x-llm-d-inference-fairness-id": f"tenant-{number}"},
            )
        )
        for number in range(300)
    ]
    while app.state.context.client.num_unfinished < 300:
        await asyncio.sleep(0.001)
    found = await scrape(http)
    shown = {k: n for k, n in found.items() if k.startswith("plimsoll:num_requests_waiting,")}
    assert len(shown) == MAX_QUEUES_SHOWN + 1
    assert sum(shown.values()) == found["vllm:num_requests_waiting"] >= 290
    spoken.gate.set()
    answers = await asyncio.gather(*tasks)
    assert {answer.status_code for answer in answers} == {200}


def test_drafts_are_counted_under_vllms_names_where_there_are_any(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = engine.stats()
    counted = SpeculationStats(5, 18, (4, 2, 1))

    def samples(told: SpeculationStats | None) -> dict[str, float]:
        monkeypatch.setattr(engine, "stats", lambda: stats._replace(speculation=told))
        exposition = Metrics(engine, "tiny").exposition().decode()
        families = text_string_to_metric_families(exposition)
        return {
            f"{sample.name}{sample.labels.get('position', '')}": sample.value
            for family in families
            for sample in family.samples
            if "spec_decode" in sample.name
        }

    assert samples(None) == {}
    assert samples(counted) == {
        "vllm:spec_decode_num_drafts_total": 5,
        "vllm:spec_decode_num_draft_tokens_total": 18,
        "vllm:spec_decode_num_accepted_tokens_total": 7,
        "vllm:spec_decode_num_accepted_tokens_per_pos_total0": 4,
        "vllm:spec_decode_num_accepted_tokens_per_pos_total1": 2,
        "vllm:spec_decode_num_accepted_tokens_per_pos_total2": 1,
    }
