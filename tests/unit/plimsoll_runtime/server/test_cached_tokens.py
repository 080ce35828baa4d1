"""What was in the KV cache shows in usage and metrics, and only to who may know."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from plimsoll_runtime.core.request import Request
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.cache_salt import cache_salt
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer
from tests.unit.plimsoll_runtime.server.sse import events
from tests.unit.plimsoll_runtime.server.test_metrics import scrape

PROMPT = [9] * 40  # blocks of 16: 32 of these tokens can be found again
CHAT = {"messages": [{"role": "user", "content": "Tell me about the weather. " * 6}]}


@pytest.fixture(autouse=True)
def answer(say: Callable[[str], list[int]]) -> None:
    say("one two")


async def cached(http: httpx.AsyncClient, key: str | None = None, **body: Any) -> int:
    """The cached tokens of a completion, in its usage."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    response = await http.post("/v1/completions", json={"prompt": PROMPT, **body}, headers=headers)
    assert response.status_code == 200, response.text
    found = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert isinstance(found, int)
    return found


async def test_a_prompt_sent_again_is_found(http: httpx.AsyncClient) -> None:
    assert [await cached(http) for _ in range(3)] == [0, 32, 32]
    assert await cached(http, prompt=[*PROMPT[:20], 8]) == 16


async def test_streamed_usage_tells_it_too(http: httpx.AsyncClient) -> None:
    await cached(http)
    body = {"prompt": PROMPT, "stream": True, "stream_options": {"include_usage": True}}
    last = events(await http.post("/v1/completions", json=body))[-1]
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}


async def test_chat_finds_the_turns_before(http: httpx.AsyncClient) -> None:
    found = []
    for _ in range(2):
        usage = (await http.post("/v1/chat/completions", json=CHAT)).json()["usage"]
        found.append(usage["prompt_tokens_details"]["cached_tokens"])
    assert found[0] == 0
    assert usage["prompt_tokens"] - 16 <= found[1] < usage["prompt_tokens"]


async def test_a_prompt_counts_once_however_many_answers_it_has(http: httpx.AsyncClient) -> None:
    assert await cached(http, n=3) == 0
    assert await cached(http, n=3) == 32
    assert await cached(http, prompt=[PROMPT, PROMPT[:17], [7] * 40], n=2) == 32 + 16


async def test_metrics_count_tokens(http: httpx.AsyncClient) -> None:
    found = await scrape(http)
    names = ("prefix_cache_queries", "prefix_cache_hits", "prompt_tokens_cached")
    assert [found[f"vllm:{name}_total"] for name in names] == [0, 0, 0]
    for _ in range(3):
        await cached(http)
    found = await scrape(http)
    assert [found[f"vllm:{name}_total"] for name in names] == [120, 64, 64]


async def test_cache_salt_sets_prompts_apart(http: httpx.AsyncClient) -> None:
    await cached(http)
    assert await cached(http, cache_salt="a") == 0
    assert await cached(http, cache_salt="b") == 0
    assert await cached(http, cache_salt="a") == 32
    assert await cached(http) == 32


async def test_keys_set_prompts_apart(http: httpx.AsyncClient) -> None:
    assert [await cached(http, key) for key in ("a", "b", None)] == [0, 0, 0]
    assert [await cached(http, key) for key in ("a", "b", None)] == [32, 32, 32]
    assert await cached(http, "b", cache_salt="a") == 0


@pytest.fixture
async def with_key(
    engine: Engine, tokenizer: Tokenizer, settings: ServerSettings
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(engine, tokenizer, ServerSettings(("tiny",), "r", api_key="sesame"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client
    app.state.context.close()


async def test_the_key_never_leaves_the_server_part(
    with_key: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []
    submit = engine.submit
    monkeypatch.setattr(engine, "submit", lambda r, on: (seen.append(r), submit(r, on)))
    assert await cached(with_key, "sesame", cache_salt="pepper") == 0
    assert await cached(with_key, "sesame", cache_salt="pepper") == 32
    assert len({item.cache_salt for item in seen}) == 1
    assert seen[0].cache_salt
    assert "sesame" not in repr(seen[0])
    assert "pepper" not in repr(seen[0])


@pytest.mark.parametrize("salt", ["", "x" * 257, 5, ["a"], {"a": 1}, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_a_bad_salt_is_refused_by_name(
    http: httpx.AsyncClient, path: str, salt: object
) -> None:
    response = await http.post(path, json={"prompt": PROMPT, **CHAT, "cache_salt": salt})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "cache_salt"


def test_salts_of_different_pairs_differ() -> None:
    keys = [None, "Bearer a", "Bearer ab", "bearer  b", "Basic a", "Bearer \u00e4"]
    headers = [Headers({} if key is None else {"authorization": key}) for key in keys]
    salts = {
        (key, wanted): cache_salt(h, wanted)
        for key, h in zip(keys, headers, strict=True)
        for wanted in (None, "a", "b", "中文")
    }
    # Only what is no key at all is the same as none.
    assert len(set(salts.values())) == len(salts) - 4
    assert salts[None, None] == salts["Basic a", None] == ""
    assert cache_salt(Headers({"authorization": "BEARER a"}), "b") == salts["Bearer a", "b"]
    assert max(map(len, salts.values())) == 64
