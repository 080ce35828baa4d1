"""The official openai SDK forces calls of tiny's weights, under a template with tools."""

import json
import shutil
import sys
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict

from plimsoll_runtime import builtin
from tests.integration.server.conftest import ServerProcess

TEMPLATE = (
    "{% if tools %}<|system|>tools: {{ tools | tojson }} as <tool_call><|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
)
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather?"}]


class Weather(BaseModel):
    """The weather in a city."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Köln", "Bern"]
    days: Literal[1, 2, 3]


class Alarm(BaseModel):
    """Wakes somebody."""

    model_config = ConfigDict(extra="forbid")

    loud: bool


TOOLS = [openai.pydantic_function_tool(Weather), openai.pydantic_function_tool(Alarm)]
ALARM: Any = {"type": "function", "function": {"name": "Alarm"}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("forced")
    model = folder / "tiny-with-tools"
    shutil.copytree(builtin.path("tiny"), model)
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": TEMPLATE}))
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", str(model), "--port=0"]
    options = ["--threads=1", "--dtype=float32", "--served-model-name=tiny"]
    server = ServerProcess([*command, *options], folder / "server.log")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client
    server.kill()


def test_required_parses_into_the_clients_own_types(client: openai.OpenAI) -> None:
    seen = set()
    for seed in range(8):
        answer = client.chat.completions.parse(
            model="tiny",
            messages=MESSAGES,
            tools=TOOLS,
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=2,
            seed=seed,
            max_tokens=200,
        )
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert choice.message.tool_calls is not None
        (call,) = choice.message.tool_calls
        assert isinstance(call.function.parsed_arguments, Weather | Alarm)
        seen.add(call.function.name)
    assert seen == {"Weather", "Alarm"}


def test_a_named_function_in_a_stream(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS}
    with client.chat.completions.stream(**options, tool_choice=ALARM, max_tokens=200) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    done = [each for each in events if each.type == "tool_calls.function.arguments.done"]
    assert [each.name for each in done] == ["Alarm"]
    assert isinstance(done[0].parsed_arguments, Alarm)
    assert final.choices[0].finish_reason == "stop"
    assert not final.choices[0].message.content


def test_what_cannot_be_forced_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(
            model="tiny", messages=MESSAGES, tools=TOOLS[:1], tool_choice=ALARM
        )
    assert error.value.param == "tool_choice"
    assert "Alarm" in error.value.message
