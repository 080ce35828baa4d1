"""Keys, tenants and live limits of `plimsoll serve builtin://tiny`, as an operator sees them."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.server.conftest import HTTP, ServerProcess

ADMIN = re.compile(r"^plimsoll: admin port on (http://\S+:\d+)$", re.MULTILINE)
KEY, OTHER = "sk-chat-0001", "sk-chat-0002"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"chat:{KEY}\n")
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[ServerProcess]:
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", "builtin://tiny"]
    options = ["--port=0", "--admin-port=0", f"--api-key-file={keys}", "--dtype=float32"]
    log = tmp_path_factory.mktemp("limits") / "server.log"
    server = ServerProcess([*command, *options, "--threads=1", "--max-model-len=256"], log)
    yield server
    server.kill()
    CLIENT.close()


# One for all, because making one takes longer than a short answer.
CLIENT = httpx.Client(timeout=60)


def ask(server: ServerProcess, prompt: str, key: str = KEY, **body: Any) -> httpx.Response:
    return CLIENT.post(
        f"{server.url}/v1/completions",
        json={"prompt": prompt, "max_tokens": 60, "temperature": 0, "ignore_eos": True} | body,
        headers={"authorization": f"Bearer {key}"},
    )


def test_limits_change_under_load_and_no_answer_does(server: ServerProcess) -> None:
    found = ADMIN.search(server.log.read_text())
    assert found is not None
    admin = found[1]
    prompts = [f"{number} What is a thread" for number in range(12)]
    alone = [ask(server, prompt, max_tokens=230).json()["choices"][0]["text"] for prompt in prompts]
    start = HTTP.get(f"{admin}/admin/limits").json()
    # Four at a time, so that others wait, and four run, until long after the change is sent.
    HTTP.put(f"{admin}/admin/limits", json=start["most"] | {"max_num_seqs": 4})
    with ThreadPoolExecutor(len(prompts)) as pool:
        answers = [pool.submit(ask, server, prompt, max_tokens=230) for prompt in prompts]
        server.until(lambda: server.metric("vllm:num_requests_waiting") > 0)
        few = {"max_num_seqs": 2, "max_num_batched_tokens": 8, "num_usable_blocks": 16}
        changed = HTTP.put(f"{admin}/admin/limits", json=few)
        assert changed.status_code == 200
        server.until(lambda: server.metric("vllm:num_requests_running") <= 2)
        HTTP.put(f"{admin}/admin/limits", json=start["most"])
        together = [each.result().json()["choices"][0]["text"] for each in answers]
    assert together == alone
    assert server.metric("vllm:num_preemptions_total") >= 2
    steps = HTTP.get(f"{admin}/admin/steps").json()
    assert steps["num_steps"] >= len(steps["steps"]) > 60
    assert all(step["seconds"] > 0 for step in steps["steps"])

    def looks() -> list[dict[str, float]]:
        told: list[dict[str, float]] = HTTP.get(f"{admin}/admin/steps").json()["frontend"]
        return told

    server.until(lambda: looks()[-1]["num_tokens"] >= 2 * len(prompts) * 230)
    first, *_, last = looks()
    assert last["num_requests"] == 2 * len(prompts)
    assert last["num_prompt_tokens"] > 5 * last["num_requests"]
    assert last["num_steps"] >= steps["num_steps"]
    # Not those of the engine, which had all of a core for it.
    assert 0 < last["cpu_seconds"] - first["cpu_seconds"] < 0.8 * (last["at"] - first["at"])
    assert HTTP.get(f"{server.url}/admin/limits").status_code == 401


def test_a_key_is_replaced_without_a_restart(server: ServerProcess, keys: Path) -> None:
    assert ask(server, "The", OTHER, max_tokens=1).status_code == 401
    keys.write_text(f"chat:{KEY}\nchat:{OTHER}\n")
    server.until(lambda: ask(server, "The", OTHER, max_tokens=1).status_code == 200)
    assert ask(server, "The", KEY, max_tokens=1).status_code == 200
    keys.write_text(f"chat:{OTHER}\n")
    server.until(lambda: ask(server, "The", KEY, max_tokens=1).status_code == 401)
    keys.write_text(f"chat:{KEY}\n")
    server.until(lambda: ask(server, "The", KEY, max_tokens=1).status_code == 200)


def test_both_ports_close_at_the_end(server: ServerProcess) -> None:
    found = ADMIN.search(server.log.read_text())
    assert found is not None
    server.terminate()
    assert server.wait(10) == 0
    with pytest.raises(httpx.ConnectError):
        HTTP.get(f"{found[1]}/admin/limits")
    assert "Traceback" not in server.log.read_text()
