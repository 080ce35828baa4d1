"""The official openai SDK's tools against the server."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.integration.server.conftest import ServerProcess

SERVER = str(Path(__file__).with_name("calling_server.py"))
CALL = '<tool_call>\n{"name": "Weather", "arguments": {"city": "Köln", "days": 3}}\n</tool_call>'
TEXT = f"Let me look.{CALL}\n{CALL}"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather?"}]


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    days: int = 1


TOOL = openai.pydantic_function_tool(Weather)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("calling") / "server.log"
    server = ServerProcess([sys.executable, SERVER, TEXT], log)
    yield server
    server.kill()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_calls_are_parsed_into_the_clients_own_types(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="calling", messages=MESSAGES, tools=[TOOL])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert choice.message.tool_calls is not None
    parsed = [call.function.parsed_arguments for call in choice.message.tool_calls]
    assert parsed == [Weather(city="Köln", days=3)] * 2


def test_the_stream_helper_sees_arguments_grow(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "calling", "messages": MESSAGES, "tools": [TOOL]}
    with client.chat.completions.stream(**options) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [each for each in events if each.type == "tool_calls.function.arguments.delta"]
    done = [each for each in events if each.type == "tool_calls.function.arguments.done"]
    assert "".join(each.arguments_delta for each in deltas if each.index == 0)
    assert {(each.index, each.name) for each in deltas} == {(0, "Weather"), (1, "Weather")}
    assert [each.parsed_arguments for each in done] == [Weather(city="Köln", days=3)] * 2
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.content == "Let me look."


def test_a_loop_with_results_goes_on(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="calling", messages=MESSAGES, tools=[TOOL])
    message = first.choices[0].message
    assert message.tool_calls is not None
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sky": "grey"})}
        for call in message.tool_calls
    ]
    history: list[Any] = [*MESSAGES, message, *results]
    second = client.chat.completions.create(model="calling", messages=history, tools=[TOOL])
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + 30
