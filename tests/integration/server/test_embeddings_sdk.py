"""The official openai SDK's `embeddings` against `plimsoll serve builtin://tiny`."""

import asyncio

import numpy as np
import openai
import pytest
import torch
from transformers import AutoTokenizer, LlamaModel

from plimsoll_runtime import builtin

TEXTS = ["Hello", "The naïve café serves 中文 and 😀", "What is a thread? " * 60, "x", "Python is"]


def test_a_batch_of_mixed_lengths_is_what_transformers_computes(client: openai.OpenAI) -> None:
    folder = builtin.path("tiny")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaModel.from_pretrained(folder, dtype=torch.float32).eval()
    answer = client.embeddings.create(model="tiny", input=TEXTS)  # asks for base64
    assert [item.index for item in answer.data] == list(range(len(TEXTS)))
    count = 0
    for text, item in zip(TEXTS, answer.data, strict=True):
        ids = tokenizer(text)["input_ids"]
        count += len(ids)
        with torch.inference_mode():
            hidden = model(torch.tensor([ids])).last_hidden_state[0, -1]
        expected = torch.nn.functional.normalize(hidden, dim=0).numpy()
        np.testing.assert_allclose(item.embedding, expected, atol=2e-5)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (count, count)


def test_numbers_base64_and_dimensions_agree(client: openai.OpenAI) -> None:
    whole = client.embeddings.create(model="tiny", input=TEXTS[1]).data[0].embedding
    numbers = client.embeddings.create(model="tiny", input=TEXTS[1], encoding_format="float")
    np.testing.assert_allclose(numbers.data[0].embedding, whole, atol=1e-6)
    cut = client.embeddings.create(model="tiny", input=[TEXTS[1]], dimensions=7, user="me")
    first = np.array(whole[:7])
    np.testing.assert_allclose(cut.data[0].embedding, first / np.linalg.norm(first), atol=1e-6)


def test_what_is_wrong_is_named(client: openai.OpenAI) -> None:
    for body, param in (
        ({"input": "a", "dimensions": 10**6}, "dimensions"),
        ({"input": [5] * 10**5}, "input"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="tiny", **body)  # type: ignore[arg-type]
        assert refused.value.param == param


async def test_embeddings_beside_generation_change_neither(many: openai.AsyncOpenAI) -> None:
    async def complete() -> str:
        answer = await many.completions.create(
            model="tiny", prompt="import os", max_tokens=40, temperature=0
        )
        return answer.choices[0].text

    async def embed(text: str) -> list[float]:
        answer = await many.embeddings.create(model="tiny", input=text)
        return answer.data[0].embedding

    alone = await complete()
    vectors = [await embed(text) for text in TEXTS]
    *answers, again = await asyncio.gather(
        complete(), complete(), asyncio.gather(*(embed(text) for text in TEXTS))
    )
    assert answers == [alone, alone]
    np.testing.assert_allclose(again, vectors, atol=2e-5)
