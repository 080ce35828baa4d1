from typing import Any

import httpx
import pytest

from plimsoll_runtime.server.tokenizer import Tokenizer

TEXT = "Grüße aus 東京! 😀"
USER = {"role": "user", "content": "Hello"}


async def test_text_goes_to_ids_and_back(http: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    answer = (await http.post("/tokenize", json={"model": "tiny", "prompt": TEXT})).json()
    ids = tokenizer.encode(TEXT, add_special_tokens=True)
    assert answer == {"count": len(ids), "max_model_len": 256, "tokens": ids, "token_strs": None}
    back = await http.post("/detokenize", json={"model": "tiny", "tokens": ids})
    assert back.json() == {"prompt": tokenizer.decode(ids, skip_special_tokens=False)}


async def test_tokens_are_spelled_out(http: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    body = {"prompt": TEXT, "return_token_strs": True, "add_special_tokens": False}
    answer = (await http.post("/tokenize", json=body)).json()
    assert len(answer["token_strs"]) == answer["count"]
    assert [tokenizer.hf.token_to_id(each) for each in answer["token_strs"]] == answer["tokens"]


async def test_special_tokens_survive(http: httpx.AsyncClient) -> None:
    text = "<|user|>Hi<|end|>"
    ids = (await http.post("/tokenize", json={"prompt": text})).json()["tokens"]
    assert (await http.post("/detokenize", json={"tokens": ids})).json()["prompt"].endswith(text)


async def test_a_conversation_is_what_the_model_sees(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    for prompt in (True, False):
        body = {"messages": [USER], "add_generation_prompt": prompt}
        answer = (await http.post("/tokenize", json=body)).json()
        shown = "<|bos|><|user|>Hello<|end|>" + ("<|assistant|>" if prompt else "")
        assert tokenizer.decode(answer["tokens"], skip_special_tokens=False) == shown
    chat = {"messages": [USER], "return_token_ids": True, "max_tokens": 1}
    asked = (await http.post("/v1/chat/completions", json=chat)).json()["prompt_token_ids"]
    assert (await http.post("/tokenize", json={"messages": [USER]})).json()["tokens"] == asked


async def test_nothing_is_as_good_as_any_text(http: httpx.AsyncClient) -> None:
    answer = await http.post("/tokenize", json={"prompt": "", "add_special_tokens": False})
    assert (answer.json()["count"], answer.json()["tokens"]) == (0, [])
    assert (await http.post("/detokenize", json={"tokens": []})).json() == {"prompt": ""}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 7}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [USER]}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": "yes"}, "add_special_tokens"),
        ("/tokenize", {"prompt": "word " * 100_000}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "robot"}]}, "messages.0.role"),
        ("/tokenize", {"messages": [USER], "chat_template": "{{ 1 }}"}, "chat_template"),
        ("/tokenize", {"messages": [USER] * 200}, "prompt"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "1"}, "tokens"),
        ("/detokenize", {"tokens": [1.5]}, "tokens.0"),
        ("/detokenize", {"tokens": [True]}, "tokens.0"),
        ("/detokenize", {"tokens": [-1]}, "tokens.0"),
        ("/detokenize", {"tokens": [10**30]}, "tokens.0"),
        ("/detokenize", {"tokens": [99999]}, "tokens"),
        ("/detokenize", {"tokens": [1] * 257}, "tokens"),
    ],
)
async def test_what_cannot_be_is_refused(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await http.post(path, json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_other_models_are_not_found_here_either(http: httpx.AsyncClient) -> None:
    for path, body in (
        ("/tokenize", {"prompt": "a"}),
        ("/tokenize", {"messages": [USER]}),
        ("/detokenize", {"tokens": [1]}),
    ):
        response = await http.post(path, json={**body, "model": "gpt-9"})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
