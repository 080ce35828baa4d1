"""The admin port: limits that are validated and applied, and the steps for calibration."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.admin import create_admin_app

START = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "num_usable_blocks": 64}


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_admin_app(app.state.context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        yield client


async def test_limits_begin_with_those_of_the_start(admin: httpx.AsyncClient) -> None:
    response = await admin.get("/admin/limits")
    assert response.status_code == 200
    expected = {**START, "most": START, "block_size": 16, "max_model_len": 256}
    assert response.json() == expected


@pytest.mark.parametrize("address", ["10.0.0.7", "fd00::7", "::ffff:10.0.0.7"])
async def test_others_read_and_do_not_change(app: FastAPI, address: str) -> None:
    transport = httpx.ASGITransport(create_admin_app(app.state.context), client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as other:
        refused = await other.put("/admin/limits", json={"max_num_seqs": 2})
        assert refused.status_code == 403
        assert "kubectl port-forward" in refused.text
        for path in ("/admin/limits", "/admin/steps"):
            assert (await other.get(path)).status_code == 200
        assert (await other.get("/admin/limits")).json()["max_num_seqs"] == 8


async def test_what_is_left_out_stays(
    admin: httpx.AsyncClient, engine: Engine, http: httpx.AsyncClient
) -> None:
    response = await admin.put("/admin/limits", json={"max_num_seqs": 2})
    assert response.status_code == 200
    assert response.json() == {
        **START,
        "max_num_seqs": 2,
        "most": START,
        "block_size": 16,
        "max_model_len": 256,
    }
    response = await admin.put("/admin/limits", json={"num_usable_blocks": 16})
    assert response.json()["max_num_seqs"] == 2
    assert engine.stats().limits == LiveLimits(2, 64, 16)
    answer = await http.post("/v1/completions", json={"prompt": [9] * 20, "n": 8})
    assert answer.status_code == 200
    assert max(sample.num_seqs for sample in engine.stats().step_samples) <= 2
    response = await admin.put("/admin/limits", json=START)
    assert engine.stats().limits == LiveLimits(8, 64, 64)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"max_num_seqs": 0}, "greater than or equal to 1, not 0", "max_num_seqs"),
        ({"max_num_seqs": "4"}, "valid integer, not '4'", "max_num_seqs"),
        ({"max_num_seqs": 2**40}, "less than 2147483648", "max_num_seqs"),
        ({"max_num_seq": 4}, "not permitted", "max_num_seq"),
        ({"max_num_seqs": 9}, "more than the 8 that the engine was started with", None),
        ({"max_num_batched_tokens": 4}, "smaller than max_num_seqs 8", None),
        ({"num_usable_blocks": 15}, "KV cache of 240 tokens is smaller than", None),
    ],
)
async def test_what_cannot_be_is_400_and_changes_nothing(
    admin: httpx.AsyncClient, body: dict[str, Any], message: str, param: str | None
) -> None:
    response = await admin.put("/admin/limits", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert message in error["message"]
    assert error["param"] == param
    assert (await admin.get("/admin/limits")).json()["max_num_seqs"] == 8


async def test_bodies_are_bounded_json(admin: httpx.AsyncClient) -> None:
    response = await admin.put("/admin/limits", content=b"{}")
    assert response.status_code == 415
    big = {"x": "y" * 5000}
    assert (await admin.put("/admin/limits", json=big)).status_code == 413
    assert (await admin.put("/admin/limits", json=[])).status_code == 400
    assert (await admin.post("/admin/limits", json={})).status_code == 405
    assert (await admin.get("/v1/models")).status_code == 404


async def test_a_stopped_engine_is_503(admin: httpx.AsyncClient, engine: Engine) -> None:
    engine.stop()
    assert (await admin.put("/admin/limits", json={"max_num_seqs": 2})).status_code == 503


async def test_the_api_has_no_admin_paths(http: httpx.AsyncClient) -> None:
    assert (await http.get("/admin/limits")).status_code == 404
    assert (await http.get("/admin/steps")).status_code == 404


async def test_steps_are_told_for_calibration(
    admin: httpx.AsyncClient, http: httpx.AsyncClient, say: Callable[[str], list[int]]
) -> None:
    nothing = {"num_steps": 0, "steps": [], "frontend": []}
    assert (await admin.get("/admin/steps")).json() == nothing
    say("one two three")
    await http.post("/v1/completions", json={"prompt": [9] * 70, "max_tokens": 2})
    # The answer may be there before the engine's thread has counted its last step.
    while (found := (await admin.get("/admin/steps")).json())["num_steps"] < 3:
        await asyncio.sleep(0.001)
    assert found["num_steps"] == len(found["steps"]) == 3
    shapes = [(s["num_tokens"], s["num_context_tokens"], s["num_seqs"]) for s in found["steps"]]
    assert shapes == [(64, 64, 1), (6, 70, 1), (1, 71, 1)]
    assert all(step["seconds"] >= 0 for step in found["steps"])


async def test_what_the_server_did_is_told_beside(
    app: FastAPI,
    admin: httpx.AsyncClient,
    http: httpx.AsyncClient,
    say: Callable[[str], list[int]],
) -> None:
    work = app.state.context.work
    work.look(0)
    said = say("one two three")
    for stream in (True, False):
        body = {"prompt": [9] * 30, "max_tokens": len(said), "n": 2, "stream": stream}
        assert (await http.post("/v1/completions", json=body)).status_code == 200
    refused = await http.post("/v1/completions", json={"prompt": [9] * 3000})
    assert refused.status_code == 400
    work.look(7)
    before, after = (await admin.get("/admin/steps")).json()["frontend"]
    assert before["num_requests"] == before["num_tokens"] == 0
    assert (after["num_requests"], after["num_prompt_tokens"]) == (4, 120)
    assert (after["num_steps"], after["num_tokens"]) == (7, 4 * len(said))
    # Tokens that waited for their client come together, and so do those of a step that end it.
    assert 4 <= after["num_events"] <= 4 * (len(said) + 1)
    assert after["at"] > before["at"]
    assert after["cpu_seconds"] > before["cpu_seconds"] > 0
