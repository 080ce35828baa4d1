"""What /v1/embeddings refuses, and what becomes of requests that do not end well."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server import embeddings
from plimsoll_runtime.server.embeddings import unit_vector
from tests.unit.plimsoll_runtime.server.conftest import MAX_MODEL_LEN, VOCAB_SIZE, SpokenModel
from tests.unit.plimsoll_runtime.server.test_metrics import scrape

UNIT = [8**-0.5] * 8


async def post(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post("/v1/embeddings", json=body)


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "input", "must be text"),
        ({"input": None}, "input", "not None"),
        ({"input": []}, "input", "none of them empty"),
        ({"input": [[]]}, "input", "at least one token"),
        ({"input": ["a", ""], "add_special_tokens": False}, "input", "at least one token"),
        ({"input": ["a", [1]]}, "input", "must be text"),
        ({"input": [1.5]}, "input", "must be text"),
        ({"input": [True]}, "input", "must be text"),
        ({"input": {"text": "a"}}, "input", "not dict"),
        ({"input": ["a"] * 2049}, "input", "2049 prompts; at most 2048"),
        ({"input": [VOCAB_SIZE]}, "input", f"vocabulary of {VOCAB_SIZE} tokens"),
        ({"input": [[1], [-1]]}, "input", "-1 is not in the vocabulary"),
        ({"input": [1] * (MAX_MODEL_LEN + 1)}, "input", "an input has 257: shorten it"),
        ({"input": ["a", "word " * 9000]}, "input", "an input has at least"),
        ({"input": "a b " * 200}, "input", "maximum context length is 256 tokens"),
        ({"input": "a", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": "a", "dimensions": 9}, "dimensions", "have 8, not 9"),
        ({"input": "a", "dimensions": 2.0}, "dimensions", "integer"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "user": 7}, "user", "string"),
        ({"input": "a", "user": "u" * 257}, "user", "at most 256"),
        ({"input": "a", "priority": 101}, "priority", "100"),
        ({"input": "a", "cache_salt": ""}, "cache_salt", "at least 1"),
        ({"input": "a", "truncate_prompt_tokens": 4}, "truncate_prompt_tokens", "not supported"),
        (
            {"input": "a b " * 200, "truncate_prompt_tokens": -1},
            "input",
            "maximum context length is 256 tokens",
        ),
        ({"input": "a", "normalize": False}, "normalize", "not supported"),
        ({"messages": [{"role": "user", "content": "a"}]}, "messages", "not supported"),
    ],
)
async def test_what_is_wrong_is_named(
    http: httpx.AsyncClient, body: dict[str, Any], param: str, says: str
) -> None:
    response = await post(http, **body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert says in error["message"]
    assert len(error["message"]) < 500


async def test_what_is_too_long_has_openais_code(http: httpx.AsyncClient) -> None:
    longest = await post(http, input=[1] * MAX_MODEL_LEN)
    assert longest.status_code == 200
    response = await post(http, input=[1] * (MAX_MODEL_LEN + 1))
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_an_unknown_model_is_404(http: httpx.AsyncClient) -> None:
    assert (await post(http, input="a", model="other")).status_code == 404
    assert (await post(http, input="a", model="alias", user="me")).status_code == 200


async def test_what_vllms_own_client_sends(http: httpx.AsyncClient) -> None:
    assert (await post(http, input="a", truncate_prompt_tokens=-1)).status_code == 200


async def test_as_many_inputs_as_openai_takes(http: httpx.AsyncClient) -> None:
    response = await post(http, input=[[1 + i % 9] for i in range(2048)])
    assert response.status_code == 200
    answer = response.json()
    assert [item["index"] for item in answer["data"]] == list(range(2048))
    assert answer["usage"]["prompt_tokens"] == 2048


async def test_no_answer_is_larger_than_its_bound(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "MAX_NUMBERS", 3 * 8)
    assert (await post(http, input=["a", "b", "c"])).status_code == 200
    response = await post(http, input=["a", "b", "c", "d"])
    assert "4 prompts; at most 3" in response.json()["error"]["message"]


async def test_a_large_answer_is_written_as_a_small_one(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = await post(http, input=["a", "b"])
    monkeypatch.setattr(embeddings, "MAX_INLINE_NUMBERS", 1)
    large = await post(http, input=["a", "b"])
    assert large.content == small.content
    assert large.json()["data"][1]["embedding"] == pytest.approx(UNIT)


async def test_a_step_that_fails_is_an_error_and_is_counted(
    http: httpx.AsyncClient, spoken: SpokenModel, app: FastAPI, engine: Engine
) -> None:
    spoken.broken = True
    response = await post(http, input=["a", "b"])
    assert response.status_code == 500
    assert "can be sent again" in response.json()["error"]["message"]
    found = await scrape(http)
    assert found["vllm:request_success_total,finished_reason=error"] == 1
    assert found["vllm:request_success_total,finished_reason=abort"] == 1
    assert app.state.context.client.num_unfinished == 0
    spoken.broken = False
    assert (await post(http, input="a")).status_code == 200


async def test_one_that_leaves_frees_its_place(
    http: httpx.AsyncClient, spoken: SpokenModel, app: FastAPI, engine: Engine
) -> None:
    spoken.gate.clear()
    left = asyncio.ensure_future(post(http, input=[[9] * 40] * 20))
    while app.state.context.client.num_unfinished < 20:
        await asyncio.sleep(0.001)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert app.state.context.client.num_unfinished == 0
    spoken.gate.set()
    assert (await post(http, input="a")).status_code == 200
    found = await scrape(http)
    assert found["vllm:request_success_total,finished_reason=abort"] == 20
    assert engine.stats().kv_cache_usage == 0


async def test_salts_keep_prompts_apart(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    async def cached(**body: Any) -> float:
        name = "vllm:prompt_tokens_cached_total"
        before = (await scrape(http))[name]
        assert (await post(http, input=[9] * 40, **body)).status_code == 200
        return (await scrape(http))[name] - before

    assert [await cached(), await cached(), await cached(cache_salt="mine")] == [0, 32, 0]


@settings(max_examples=30)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9),
    st.integers(1, 9),
)
def test_a_unit_vector_has_length_1_and_its_direction(numbers: list[float], count: int) -> None:
    vector = np.array(numbers, np.float32)[:count]
    found = unit_vector(vector)
    length = np.linalg.norm(vector.astype(np.float64))
    assert found.dtype == np.dtype("<f4")
    np.testing.assert_allclose(found * length, vector, rtol=1e-5, atol=1e-30)
    assert np.linalg.norm(found.astype(np.float64)) == pytest.approx(1 if length else 0, abs=1e-6)
