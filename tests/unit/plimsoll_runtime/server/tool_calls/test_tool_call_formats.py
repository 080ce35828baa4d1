"""Which model writes calls how, by what its chat template says. Extracts are of real templates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as HFTokenizer

from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.calling_message import Calling
from plimsoll_runtime.server.chat_template import ChatTemplate
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from plimsoll_runtime.server.tool_calls.formats import FORMATS, detect
from tests.unit.plimsoll_runtime.server.conftest import SpokenModel
from tests.unit.plimsoll_runtime.server.sse import events

QWEN = r"""
{%- if tools %}
    {{- "\n\n# Tools\n\nYou are provided with function signatures within <tools></tools>:" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "For each function call, return a json object within <tool_call></tool_call> tags" }}
{%- endif %}
"""
LLAMA_31 = r"""
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if tools is not none %}
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name' }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if 'tool_calls' in message %}{{- "<|python_tag|>" + message.tool_calls[0].function.name }}
    {%- endif %}
{%- endfor %}
"""
LLAMA_32 = LLAMA_31.replace("<|python_tag|>", "")
MISTRAL = r"""
{%- if tools is not none and (message == user_messages[-1]) %}{{- "[AVAILABLE_TOOLS] [" }}
{%- for tool in tools %}{%- set tool = tool.function %}{%- endfor %}{%- endif %}
{{- "[TOOL_CALLS] [" }}
"""
QWEN_CODER = r"""{% if tools %}{{ "<tool_call>\n<function=example_function_name>" }}{% endif %}"""


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (QWEN, "hermes"),
        (LLAMA_31, "llama3_json"),
        (LLAMA_32, "llama3_json"),
        (MISTRAL, "mistral"),
        (QWEN_CODER, None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}", None),
    ],
)
def test_templates_tell_the_format(source: str, name: str | None) -> None:
    form = detect(source)
    assert (form.name if form else None) == name
    assert ChatTemplate(source).takes_tools


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ messages[0].tools }}",
        "{% set tools = 1 %}{{ tools }}",
        "{# tools #}",
    ],
)
def test_templates_without_tools(source: str) -> None:
    assert not ChatTemplate(source).takes_tools


def test_ids_are_what_templates_accept() -> None:
    ids = {Calling(FORMATS["mistral"], ()).new_id() for _ in range(20)}
    assert len(ids) == 20
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert Calling(FORMATS["hermes"], ()).new_id().startswith("call_")


CALLS = {
    "llama3_json": '<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
    "mistral": '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]',
    "hermes": '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>',
}


@pytest.mark.parametrize("name", sorted(FORMATS))
async def test_markers_that_are_special_tokens_are_seen(
    engine: Engine, spoken: SpokenModel, tokenizer: Tokenizer, name: str
) -> None:
    markers = FORMATS[name].markers
    hf = HFTokenizer.from_str(tokenizer.hf.to_str())
    hf.add_special_tokens([AddedToken(marker, special=True) for marker in markers])
    added = {token_id for token_id, token in hf.get_added_tokens_decoder().items() if token.special}
    special = replace(
        tokenizer,
        hf=hf,
        special_ids=frozenset(added),
        chat_template=ChatTemplate("{{ tools }}{{ messages[0].content }}"),
    )
    spoken.token_ids = hf.encode(CALLS[name], add_special_tokens=False).ids
    settings = ServerSettings(("tiny",), "root", tool_call_parser=name)
    app = create_app(engine, special, settings)
    transport = httpx.ASGITransport(app)
    tool = {"type": "function", "function": {"name": "f"}}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "tools": [tool]}
    path = "/v1/chat/completions"
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        choice = (await http.post(path, json=body)).json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"][0]["function"] == {
            "name": "f",
            "arguments": '{"a": 1}',
        }
        streamed = events(await http.post(path, json={**body, "stream": True}))
        assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"
        plain = (await http.post(path, json={**body, "tool_choice": "none"})).json()
        assert markers[0] not in plain["choices"][0]["message"]["content"]
    app.state.context.close()


def test_the_template_for_tools_is_used_with_tools_only(
    tokenizer: Tokenizer, say: Callable[[str], list[int]]
) -> None:
    own = ChatTemplate("{{ tools }}")
    both = replace(tokenizer, tool_template=own)
    assert both.template(with_tools=True) is own
    assert both.template(with_tools=False) is tokenizer.chat_template
    assert tokenizer.template(with_tools=True) is tokenizer.chat_template
