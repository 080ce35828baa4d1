"""A drain over the admin port: not ready, still serving, taken back by word or by time."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from plimsoll_runtime.server.admin import create_admin_app
from plimsoll_runtime.server.lifecycle import Lifecycle

IDLE = {"running": 0, "waiting": 0, "kv_cache_usage": 0.0}


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_admin_app(app.state.context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        yield client


async def test_not_ready_but_serving_until_it_is_taken_back(
    admin: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    before = await admin.get("/admin/drain")
    assert before.json() == {"draining": False, "seconds": 0.0, **IDLE}
    asked = await admin.put("/admin/drain", json={"seconds": 30})
    assert asked.status_code == 200
    assert asked.json()["draining"] is True
    ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert "over the admin port" in ready.text
    assert (await http.get("/livez")).status_code == 200
    answer = await http.post("/v1/completions", json={"prompt": [9] * 4, "max_tokens": 1})
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"  # so that the client comes back elsewhere
    back = await admin.delete("/admin/drain")
    assert back.json() == {"draining": False, "seconds": 0.0, **IDLE}
    assert (await http.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"seconds": 0}, 400),
        ({"seconds": 3601}, 400),
        ({"seconds": "30"}, 400),
        ({"seconds": 30, "by": "me"}, 400),
        ([], 400),
    ],
)
async def test_what_cannot_be_drains_nothing(
    admin: httpx.AsyncClient, http: httpx.AsyncClient, body: object, status: int
) -> None:
    assert (await admin.put("/admin/drain", json=body)).status_code == status
    assert (await http.get("/readyz")).status_code == 200


async def test_others_see_a_drain_and_change_none(app: FastAPI) -> None:
    transport = httpx.ASGITransport(create_admin_app(app.state.context), client=("10.0.0.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as other:
        assert (await other.put("/admin/drain", json={"seconds": 30})).status_code == 403
        assert (await other.delete("/admin/drain")).status_code == 403
        assert (await other.get("/admin/drain")).json()["draining"] is False


async def test_the_end_cannot_be_taken_back(
    app: FastAPI, admin: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    await admin.put("/admin/drain", json={"seconds": 30})
    app.state.context.lifecycle.ending = True
    await admin.delete("/admin/drain")
    assert (await http.get("/readyz")).status_code == 503


def test_a_drain_is_a_lease() -> None:
    clock = Clock()
    lifecycle = Lifecycle(clock)
    assert (lifecycle.draining, lifecycle.drained_seconds) == (False, None)
    lifecycle.drain(10)
    clock.now += 9
    assert (lifecycle.draining, lifecycle.drained_seconds) == (True, 9)
    lifecycle.drain(10)  # the time that it has been draining goes on
    clock.now += 9
    assert lifecycle.drained_seconds == 18
    clock.now += 1
    assert (lifecycle.draining, lifecycle.drained_seconds) == (False, None)
    lifecycle.drain(10)
    assert lifecycle.drained_seconds == 0
