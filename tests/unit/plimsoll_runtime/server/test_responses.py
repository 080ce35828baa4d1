import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai.types.responses import Response as SDKResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel

TEXT = "Grüße aus 東京! 😀"
PATH = "/v1/responses"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def typed_events(response: httpx.Response) -> list[dict[str, Any]]:
    """Every event; its name is its type, and there is no [DONE]."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


async def test_answers_in_openais_shape(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    ids = say(TEXT)
    body = {"model": "tiny", "input": "Hello", "instructions": "Be kind.", "metadata": {"a": "b"}}
    response = await http.post(PATH, json=body)
    assert response.status_code == 200, response.text
    answer = SDKResponse.model_validate(response.json())
    assert answer.id == f"resp_{response.headers['x-request-id']}"
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert answer.output_text == TEXT
    assert answer.output[0].type == "message"
    assert answer.output[0].status == "completed"
    assert (answer.instructions, answer.metadata) == ("Be kind.", {"a": "b"})
    rendered = "<|bos|><|system|>Be kind.<|end|><|user|>Hello<|end|><|assistant|>"
    prompt = tokenizer.encode(rendered, add_special_tokens=False)
    assert answer.usage is not None
    assert answer.usage.input_tokens == len(prompt)
    assert answer.usage.output_tokens == len(ids) + 1
    assert answer.usage.total_tokens == len(prompt) + len(ids) + 1
    assert answer.usage.output_tokens_details.reasoning_tokens == 0


async def test_events_come_in_openais_order(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say(TEXT)
    whole = (await http.post(PATH, json={"input": "Hello"})).json()
    response = await http.post(PATH, json={"input": "Hello", "stream": True})
    raw = typed_events(response)
    for each in raw:
        EVENT.validate_python(each)
    names = [each["type"].removeprefix("response.") for each in raw]
    deltas = [each["delta"] for each in raw if each["type"] == "response.output_text.delta"]
    assert names == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * len(deltas),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [each["sequence_number"] for each in raw] == list(range(len(raw)))
    assert "".join(deltas) == TEXT
    assert raw[0]["response"]["status"] == "in_progress"
    assert raw[0]["response"]["output"] == raw[2]["item"]["content"] == []
    assert raw[-4]["text"] == raw[-3]["part"]["text"] == TEXT
    last = raw[-1]["response"]
    assert last["output"] == [raw[-2]["item"]]
    assert {each.get("item_id", last["output"][0]["id"]) for each in raw} == {
        last["output"][0]["id"]
    }
    same = {"id", "created_at", "output", "usage"}
    assert {key: last[key] for key in last.keys() - same} == {
        key: whole[key] for key in whole.keys() - same
    }
    assert last["output"][0]["content"] == whole["output"][0]["content"]
    assert last["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_limit_cuts_off_is_incomplete(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], stream: bool
) -> None:
    say("one two three four")
    body = {"input": "Hello", "max_output_tokens": 2, "stream": stream}
    response = await http.post(PATH, json=body)
    if stream:
        last = typed_events(response)[-1]
        assert last["type"] == "response.incomplete"
        answer = last["response"]
    else:
        answer = response.json()
    assert answer["status"] == answer["output"][0]["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["usage"]["output_tokens"] == 2


async def test_input_may_be_a_conversation_with_answers_in_it(
    http: httpx.AsyncClient, say: Callable[[str], list[int]], tokenizer: Tokenizer
) -> None:
    say("Fine.")
    first = (await http.post(PATH, json={"input": "Hi"})).json()
    conversation = [
        {"role": "developer", "content": "Short."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        *first["output"],
        {"role": "user", "content": "And you?", "type": "message"},
    ]
    answer = (await http.post(PATH, json={"input": conversation})).json()
    shown = (
        "<|bos|><|system|>Short.<|end|><|user|>Hi<|end|><|assistant|>Fine.<|end|>"
        "<|user|>And you?<|end|><|assistant|>"
    )
    expected = len(tokenizer.encode(shown, add_special_tokens=False))
    assert answer["usage"]["input_tokens"] == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": [7]}, "input.0"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input.0.content.0",
        ),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "conversation": "conv_1"}, "conversation"),
        ({"input": "x", "store": True}, "store"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "json_object"}}}, "text"),
        ({"input": "x", "reasoning": {"effort": "high"}}, "reasoning"),
        ({"input": "x", "truncation": "auto"}, "truncation"),
        ({"input": "x", "temperature": 3}, "temperature"),
        ({"input": "x", "top_p": 0}, "top_p"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "max_output_tokens": 1000}, "max_output_tokens"),
        ({"input": "x", "instructions": ["x"]}, "instructions"),
        ({"input": "x", "metadata": {str(key): "x" for key in range(17)}}, "metadata"),
        ({"input": "x", "metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"input": "word " * 100_000}, "input"),
    ],
)
async def test_what_cannot_be_is_refused(
    http: httpx.AsyncClient, body: dict[str, Any], param: str
) -> None:
    for stream in (False, True):
        response = await http.post(PATH, json={**body, "stream": stream})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["param"] == param


async def test_neutral_values_pass(
    http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    say("ok")
    body = {
        "input": "x",
        "store": False,
        "tools": [],
        "tool_choice": "auto",
        "text": {"format": {"type": "text"}},
        "user": "me",
        "service_tier": "auto",
        "prompt_cache_key": "k",
    }
    assert (await http.post(PATH, json=body)).status_code == 200


async def test_an_error_in_mid_stream_is_the_last_event(
    http: httpx.AsyncClient, app: FastAPI, spoken: SpokenModel, say: Callable[[str], list[int]]
) -> None:
    wanted = say("one two three")

    class Breaking(list[int]):
        def __getitem__(self, index: Any) -> Any:
            if index == 2:
                raise RuntimeError("secret detail at 0x7f00")
            return wanted[index]

    spoken.token_ids = Breaking(wanted)
    raw = typed_events(await http.post(PATH, json={"input": "x", "stream": True}))
    assert raw[-1]["type"] == "response.failed"
    assert raw[-1]["response"]["status"] == "failed"
    assert raw[-1]["response"]["error"]["code"] == "server_error"
    assert "secret" not in json.dumps(raw)
    EVENT.validate_python(raw[-1])
    assert app.state.context.client.num_unfinished == 0
