"""A watch that ends with an error begins anew; kopf's own code runs around ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import kopf
import pytest
from kopf._cogs.clients import errors, watching
from kopf._cogs.structs.references import Resource

from plimsoll_operator import handlers, watch_errors

PODS = Resource("", "v1", "pods", namespaced=True)
ADDED = {"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "7"}}}


def refused(kind: type[errors.APIError], status: int) -> errors.APIError:
    return kind({"message": "no", "code": status}, status=status, headers={})  # type: ignore[typeddict-item]


ENDS = [
    {
        "type": "ERROR",
        "object": {"kind": "Status", "code": 500, "message": "etcdserver: no leader"},
    },
    refused(errors.APIClientError, 400),
    refused(errors.APIClientError, 410),
    refused(errors.APIConflictError, 409),
    json.JSONDecodeError("Expecting value", '{"type": "ADD', 9),
    aiohttp.ClientPayloadError(),
]


class Server:
    """Answers in the place of kopf's own requests: what `ends` say, and then an event."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, list_ends: Any, watch_ends: Any) -> None:
        self.lists = 0
        self._list_ends, self._watch_ends = list(list_ends), list(watch_ends)
        monkeypatch.setattr("kopf._cogs.clients.fetching.fetch_objs", self._list)
        monkeypatch.setattr(watching, "watch_objs", self._events)
        monkeypatch.setattr(watching, "continuous_watch", watch_errors._watch)
        monkeypatch.setattr(watch_errors, "AGAIN_SECONDS", 0.0)
        watch_errors.outlast()

    async def _list(self, **_: Any) -> AsyncIterator[Any]:
        self.lists += 1
        if self._list_ends:
            raise self._list_ends.pop(0)
        yield [], "1"

    async def _events(self, **_: Any) -> AsyncIterator[Any]:
        if self._watch_ends:
            end = self._watch_ends.pop(0)
            if isinstance(end, Exception):
                raise end
            yield end
        yield ADDED
        await asyncio.Event().wait()

    async def first_event(self) -> Any:
        settings = handlers.kopf_settings()
        stream = watching.infinite_watch(settings=settings, resource=PODS, namespace=None)
        async with aclosing(stream), asyncio.timeout(5):  # type: ignore[type-var]
            async for event in stream:
                if not isinstance(event, watching.Bookmark):
                    return event
        raise AssertionError("the watch has ended")


@pytest.mark.parametrize("end", ENDS, ids=repr)
async def test_a_watch_begins_anew_with_a_list(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: Any
) -> None:
    server = Server(monkeypatch, [], [end])
    assert await server.first_event() == ADDED
    told = [record for record in caplog.records if record.msg == "watch begins anew"]
    if isinstance(end, aiohttp.ClientPayloadError):  # which kopf knows
        return
    assert server.lists == 2
    assert len(told) == 1


@pytest.mark.parametrize("end", ENDS[1:], ids=repr)
async def test_a_list_is_tried_again(monkeypatch: pytest.MonkeyPatch, end: Exception) -> None:
    server = Server(monkeypatch, [end, end], [])
    assert await server.first_event() == ADDED
    assert server.lists == 3


async def test_a_kind_that_is_not_there_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [refused(errors.APINotFoundError, 404)], [])
    with pytest.raises(errors.APINotFoundError):
        await server.first_event()


def test_it_is_what_kopf_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf's own function is taken from it once, however often a process serves."""
    own = watch_errors._watch
    monkeypatch.setattr(watching, "continuous_watch", own)
    watch_errors.outlast()
    watch_errors.outlast()
    assert watch_errors._watch is own
    assert watching.continuous_watch is watch_errors._outlasting
    assert kopf.OperatorSettings().watching.chunk_size is None  # else pages of lists expire
