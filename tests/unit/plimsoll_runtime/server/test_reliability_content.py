"""Templates, addresses and tensors of clients."""

from typing import Any

import httpx
import pytest

from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.refusals import (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    TOKENIZE,
    USER,
    Refused,
)


async def test_templates_of_clients(refused: Refused) -> None:
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    for path in (CHAT, TOKENIZE):
        body = {"messages": [USER], "chat_template": attack}
        await refused(path, body, "chat_template")
        for value in ([1], {"a": 1}, "x" * 257):
            arguments = {"messages": [USER], "chat_template_kwargs": {"a": value}}
            await refused(path, arguments, "chat_template_kwargs")
        many = {str(index): 1 for index in range(17)}
        await refused(path, {"messages": [USER], "chat_template_kwargs": many})


async def test_template_arguments_cannot_take_the_place_of_what_the_server_gives(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    names = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
    plain = (await http.post(TOKENIZE, json={"messages": [USER]})).json()
    for name in names:
        body = {"messages": [USER], "chat_template_kwargs": {name: "{{ 7 * 7 }}"}}
        assert (await http.post(TOKENIZE, json=body)).json() == plain


async def test_text_of_clients_is_no_template(
    http: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    message = {"role": "user", "content": "{{ 7 * 7 }}{% raw %}"}
    ids = (await http.post(TOKENIZE, json={"messages": [message]})).json()["tokens"]
    assert "{{ 7 * 7 }}{% raw %}" in tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}},
        {"type": "image_url", "image_url": "file:///etc/passwd"},
        {"type": "input_image", "image_url": "http://127.0.0.1:1\\@example.com/"},
        {"type": "input_file", "file_url": "http://127.0.0.1:1/"},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/"}},
        {"type": "image_embeds", "image_embeds": "AAAA"},
    ],
)
async def test_addresses_are_never_fetched(refused: Refused, part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [part]}
    await refused(CHAT, {"messages": [message]}, "messages.0.content.0")
    await refused(RESPONSES, {"input": [message]}, "input.0.content.0")


async def test_tensors_of_clients(refused: Refused) -> None:
    for value in ("gASVAAAA", ["gASVAAAA"]):
        await refused(COMPLETIONS, {"prompt": "x", "prompt_embeds": value}, "prompt_embeds")
