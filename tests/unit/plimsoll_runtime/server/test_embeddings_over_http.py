"""Embeddings by builtin://tiny over HTTP, against transformers."""

import asyncio
from base64 import b64decode
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from numpy.typing import NDArray
from openai.types import CreateEmbeddingResponse
from transformers import LlamaForCausalLM

from plimsoll_runtime.core.pooling import Pooling
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.test_metrics import scrape

Vector = NDArray[np.float32]
TEXTS = ["Hello", "The naïve café serves 中文 and 😀", "What is a thread? " * 9, "x"]


@pytest.fixture
def app(tiny: FastAPI) -> FastAPI:
    return tiny


def expected(oracle: LlamaForCausalLM, ids: list[int], pooling: Pooling = Pooling.LAST) -> Vector:
    """A vector of length 1."""
    with torch.inference_mode():
        hidden = oracle.model(torch.tensor([ids])).last_hidden_state[0]
    pooled = {
        Pooling.LAST: hidden[-1],
        Pooling.FIRST: hidden[0],
        Pooling.MEAN: hidden.mean(dim=0),
    }[pooling]
    found: Vector = torch.nn.functional.normalize(pooled, dim=0).numpy()
    return found


async def embed(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await http.post("/v1/embeddings", json={"model": "tiny", **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    if body.get("encoding_format") != "base64":
        CreateEmbeddingResponse.model_validate(answer, strict=True)
    return answer


def close(found: object, wanted: object) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), atol=2e-5)


async def test_each_text_is_the_last_tokens_hidden_state(
    http: httpx.AsyncClient, oracle: LlamaForCausalLM, tokenizer: Tokenizer
) -> None:
    answer = await embed(http, input=TEXTS)
    ids = [tokenizer.encode(text, add_special_tokens=True) for text in TEXTS]
    for index, (item, each) in enumerate(zip(answer["data"], ids, strict=True)):
        assert (item["object"], item["index"]) == ("embedding", index)
        close(item["embedding"], expected(oracle, each))
    count = sum(map(len, ids))
    assert answer["usage"] == {"prompt_tokens": count, "total_tokens": count}
    assert (answer["object"], answer["model"]) == ("list", "tiny")


async def test_an_input_may_be_text_or_ids_one_or_many(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(TEXTS[1], add_special_tokens=True)
    (alone,) = (await embed(http, input=TEXTS[1]))["data"]
    for same in (ids, [ids], [TEXTS[1]]):
        (item,) = (await embed(http, input=same))["data"]
        close(item["embedding"], alone["embedding"])
    plain = await embed(http, input=TEXTS[1], add_special_tokens=False)
    without = tokenizer.encode(TEXTS[1], add_special_tokens=False)
    assert plain["usage"]["prompt_tokens"] == len(without)


async def test_base64_is_the_same_numbers(http: httpx.AsyncClient) -> None:
    numbers = await embed(http, input=TEXTS, encoding_format="float")
    text = await embed(http, input=TEXTS, encoding_format="base64")
    for one, other in zip(numbers["data"], text["data"], strict=True):
        decoded = np.frombuffer(b64decode(other["embedding"]), "<f4")
        assert one["embedding"] == [float(str(each)) for each in decoded]


async def test_dimensions_cut_a_vector_to_length_1(
    http: httpx.AsyncClient, tiny_model: Engine
) -> None:
    size = tiny_model.model_config.hidden_size
    (whole,) = (await embed(http, input=TEXTS[2]))["data"]
    assert len(whole["embedding"]) == size
    (cut,) = (await embed(http, input=TEXTS[2], dimensions=10))["data"]
    first = np.array(whole["embedding"][:10])
    close(cut["embedding"], first / np.linalg.norm(first))
    assert np.linalg.norm(cut["embedding"]) == pytest.approx(1, abs=1e-6)
    assert (await embed(http, input=TEXTS[2], dimensions=size))["data"] == [whole]


@pytest.mark.parametrize("pooling", list(Pooling))
async def test_the_models_pooling_is_used_beside_generation(
    tiny_model: Engine, tokenizer: Tokenizer, oracle: LlamaForCausalLM, pooling: Pooling
) -> None:
    settings = ServerSettings(("tiny",), "builtin://tiny", pooling=pooling)
    app = create_app(tiny_model, tokenizer, settings)
    transport = httpx.ASGITransport(app)
    prompts = [[(7 * i + j) % 2000 for j in range(1 + 9 * i)] for i in range(8)]
    asked = {"prompt": prompts[5], "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        alone = (await http.post("/v1/completions", json=asked)).json()["choices"]
        answers = [
            http.post("/v1/completions", json=asked),
            embed(http, input=prompts),
            http.post("/v1/completions", json=asked),
            embed(http, input=prompts[::-1]),
        ]
        first, answer, second, reverse = await asyncio.gather(*answers)
    assert first.json()["choices"] == second.json()["choices"] == alone
    for item, again, ids in zip(answer["data"], reverse["data"][::-1], prompts, strict=True):
        close(item["embedding"], expected(oracle, ids, pooling))
        close(again["embedding"], item["embedding"])
    app.state.context.close()


async def test_embeddings_are_counted(http: httpx.AsyncClient) -> None:
    before = await scrape(http)
    answers = [await embed(http, input=[[11] * 30, [12] * 9]) for _ in range(2)]
    after = await scrape(http)
    assert answers[0]["usage"] == answers[1]["usage"] == {"prompt_tokens": 39, "total_tokens": 39}

    def moved(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert moved("vllm:prompt_tokens_total") == 78
    assert moved("vllm:prompt_tokens_cached_total") == 24 + 8
    assert moved("vllm:request_success_total,finished_reason=length") == 4
    assert moved("vllm:generation_tokens_total") == 0
    for name in ("e2e_request_latency", "request_queue_time", "request_prefill_time"):
        assert moved(f"vllm:{name}_seconds_count") == 4
