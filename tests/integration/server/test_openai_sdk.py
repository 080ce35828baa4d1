"""The official openai SDK against `plimsoll serve builtin://tiny`."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.integration.server.conftest import ServerProcess

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is a thread?"},
]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"


def test_chat_streams_what_it_answers_whole(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 60}
    whole = client.chat.completions.create(**options, temperature=0)
    with client.chat.completions.stream(
        **options, temperature=0, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert deltas  # how many there are depends on how busy the machine is
    assert "".join(deltas) == whole.choices[0].message.content
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.prompt_tokens == whole.usage.prompt_tokens
    assert final.usage.completion_tokens == whole.usage.completion_tokens <= 60
    details = final.usage.prompt_tokens_details
    assert details is not None
    assert details.cached_tokens is not None
    assert 0 < details.cached_tokens < final.usage.prompt_tokens, "the same prompt, asked again"


def test_completions_of_text_and_of_token_ids_agree(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "tiny", "max_tokens": 20, "temperature": 0}
    text = client.completions.create(
        prompt="Python is", extra_body={"return_token_ids": True}, **options
    )
    ids = text.choices[0].to_dict()["prompt_token_ids"]
    assert client.completions.create(prompt=ids, **options).choices[0].text == text.choices[0].text
    several = client.completions.create(prompt=["Python is", "Debian is"], n=2, **options)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text == text.choices[0].text
    assert several.choices[2].text == several.choices[3].text


def test_a_seed_makes_sampling_repeatable_and_choices_differ(client: openai.OpenAI) -> None:
    def sample(seed: int | None) -> list[str]:
        answer = client.completions.create(
            model="tiny", prompt="The", max_tokens=12, temperature=1.0, seed=seed, n=3
        )
        return [choice.text for choice in answer.choices]

    assert sample(7) == sample(7)
    assert sample(7) != sample(8)
    assert len(set(sample(7))) > 1
    assert sample(None) != sample(None)


def test_vllms_extras(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny",
        prompt="The",
        max_tokens=25,
        temperature=0,
        extra_body={"ignore_eos": True, "return_token_ids": True, "top_k": 1, "min_tokens": 25},
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "length"
    assert len(choice.to_dict()["token_ids"]) == 25
    stop = choice.to_dict()["token_ids"][4]
    stopped = client.completions.create(
        model="tiny",
        prompt="The",
        max_tokens=25,
        temperature=0,
        extra_body={"stop_token_ids": [stop], "return_token_ids": True},
    ).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.to_dict()["token_ids"][-1] == stop


def test_stop_strings_cut_the_text(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "model": "tiny",
        "prompt": "The",
        "max_tokens": 30,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }
    text = client.completions.create(**options).choices[0].text
    stop = text[10:13]
    cut = client.completions.create(**options, stop=stop).choices[0]
    assert (cut.text, cut.finish_reason) == (text[: text.index(stop)], "stop")
    streamed = "".join(
        chunk.choices[0].text
        for chunk in client.completions.create(**options, stop=stop, stream=True)
    )
    assert streamed == cut.text


def test_errors_are_the_sdks_types(client: openai.OpenAI, tiny: ServerProcess) -> None:
    with pytest.raises(openai.NotFoundError) as not_found:
        client.completions.create(model="gpt-9", prompt="x")
    assert not_found.value.code == "model_not_found"
    assert not_found.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.BadRequestError, match="maximum context length is 2048") as too_long:
        client.completions.create(model="tiny", prompt=[7] * 3000)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(
            model="tiny",
            messages=MESSAGES,
            response_format={"type": "grammar"},  # type: ignore[arg-type]
        )
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=9)
    with pytest.raises(openai.BadRequestError, match="role"):
        client.chat.completions.create(model="tiny", messages=[{"role": "robot"}])  # type: ignore[list-item]
    assert httpx.get(f"{tiny.url}/livez").status_code == 200


async def test_many_at_once_get_the_answers_they_get_alone(many: openai.AsyncOpenAI) -> None:
    prompts = [f"{word} is" for word in ("Linux", "Python", "A file", "The network", "Debian")]

    async def ask(prompt: str) -> str:
        answer = await many.completions.create(
            model="tiny", prompt=prompt, max_tokens=24, temperature=0
        )
        return answer.choices[0].text

    alone = [await ask(prompt) for prompt in prompts]
    together = await asyncio.gather(*(ask(prompt) for prompt in prompts * 6))
    assert together == alone * 6


async def test_cancelled_requests_leave_nothing_behind(
    many: openai.AsyncOpenAI, tiny: ServerProcess
) -> None:
    async def begin(streaming: bool) -> None:
        options: dict[str, Any] = {"extra_body": {"ignore_eos": True}, "max_tokens": 1500}
        answer = await many.completions.create(
            model="tiny", prompt="The", stream=streaming, **options
        )
        async for _ in answer:
            pass

    tasks = [asyncio.create_task(begin(index % 2 == 0)) for index in range(6)]
    await asyncio.to_thread(tiny.until, lambda: tiny.metric("vllm:num_requests_running") == 6)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(tiny.until, lambda: tiny.metric("vllm:num_requests_running") == 0, 2)
    assert tiny.metric("vllm:kv_cache_usage_perc") == 0


HOSTILE = (
    b"",
    b"[]",
    b'{"prompt": NaN}',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": "\xff"}',
    b'{"prompt": ' + b"[" * 10**5,
    b'{"prompt": [2048]}',
    b'{"prompt": "x", "n": 99999}',
    b'{"prompt": "x", "max_tokens": 1e3}',
    b'{"prompt": "x", "min_tokens": 9, "max_tokens": 8}',
    b'{"prompt": "x", "temperature": 1e999}',
    b'{"prompt": "x", "stop_token_ids": [4096]}',
    b'{"prompt": "x", "prompt": "y"}',
    json.dumps({"prompt": "word " * 3000}).encode(),
    json.dumps({"prompt": [1] * 2048}).encode(),
    b"x" * 5_000_000,
)


def test_hostile_bodies_are_refused_and_the_engine_lives(tiny: ServerProcess) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/v1/completions", "/v1/chat/completions"):
        for body in HOSTILE:
            answer = httpx.post(f"{tiny.url}{path}", content=body, headers=headers)
            assert 400 <= answer.status_code < 500, (path, body[:60], answer.text)
            assert answer.json()["error"]["message"]
    assert httpx.get(f"{tiny.url}/livez").status_code == 200
    body = {"prompt": [1] * 2047, "max_tokens": 1}
    assert httpx.post(f"{tiny.url}/v1/completions", json=body, timeout=60).status_code == 200


def test_sigterm_lets_streams_finish(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("drain") / "server.log"
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny"]
    options = ["--port=0", "--served-model-name=mine", "--api-key=sesame"]
    server = ServerProcess([*command, *options], log)
    try:
        assert server.name == "mine"
        url = f"{server.url}/v1"
        with (
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError),
        ):
            stranger.models.list()
        with openai.OpenAI(base_url=url, api_key="sesame", max_retries=0) as client:
            stream = client.completions.create(
                model="mine",
                prompt="The",
                max_tokens=300,
                stream=True,
                extra_body={"ignore_eos": True, "return_token_ids": True},
            )
            chunks = [next(stream)]
            server.terminate()
            chunks += list(stream)
        assert sum(len(chunk.choices[0].to_dict()["token_ids"]) for chunk in chunks) == 300
        assert chunks[-1].choices[0].finish_reason == "length"
        assert server.wait(5) == 0
    finally:
        server.kill()


def test_sigterm_while_loading_ends_with_0(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny", "--port=0"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        while "loading" not in log.read_text():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(10) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_a_model_that_cannot_be_served_is_exit_code_2() -> None:
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny", "--port=0"]
    result = subprocess.run(  # noqa: S603
        [*command, "--max-model-len=4096", "--kv-cache-memory-bytes=65536"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("plimsoll serve: ")
    assert result.stderr.count("\n") == 1


class Knot(pydantic.BaseModel):
    """A part of `Thread`."""

    tight: bool


class Thread(pydantic.BaseModel):
    """What `parse` fills in."""

    colour: Literal["red", "green"]
    sizes: list[int] = pydantic.Field(max_length=2)
    knot: Knot | None


def test_parse_gives_the_model_that_was_asked_for(client: openai.OpenAI) -> None:
    for seed in range(3):
        answer = client.chat.completions.parse(
            model="tiny",
            messages=MESSAGES,
            response_format=Thread,
            max_tokens=1000,
            seed=seed,
            temperature=1,
        )
        assert isinstance(answer.choices[0].message.parsed, Thread)
        assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_parse_ends_with_the_same(client: openai.OpenAI) -> None:
    class Colour(pydantic.BaseModel):
        colour: Literal["red", "green"]

    options: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "response_format": Colour}
    whole = client.chat.completions.parse(**options, temperature=0)
    with client.chat.completions.stream(**options, temperature=0) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == whole.choices[0].message.parsed is not None


def test_logprobs_as_the_sdk_reads_them(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "model": "tiny",
        "messages": MESSAGES,
        "max_tokens": 60,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    whole = client.chat.completions.create(**options).choices[0]
    assert whole.logprobs is not None
    assert whole.logprobs.content is not None
    for entry in whole.logprobs.content:
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0
        assert entry.bytes is not None
        assert bytes(entry.bytes).decode() == entry.token
    with client.chat.completions.stream(**options) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0]
    assert final.logprobs is not None
    assert final.logprobs.content is not None
    assert [each.token for each in final.logprobs.content] == [
        each.token for each in whole.logprobs.content
    ]


def test_legacy_logprobs_echo_and_penalties(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny",
        prompt=[[10, 20, 30], [40, 50]],
        max_tokens=2,
        echo=True,
        logprobs=1,
        temperature=0,
        presence_penalty=1,
        frequency_penalty=0.5,
        logit_bias={"300": 100},
        extra_body={"repetition_penalty": 1.1, "min_p": 0.1},
    )
    for choice, length in zip(answer.choices, (3, 2), strict=True):
        assert choice.logprobs is not None
        assert choice.logprobs.tokens is not None
        assert choice.logprobs.token_logprobs is not None
        assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == length + 2
        assert choice.logprobs.tokens[-2:] == ["as", "as"]
        assert choice.text == "".join(choice.logprobs.tokens)
