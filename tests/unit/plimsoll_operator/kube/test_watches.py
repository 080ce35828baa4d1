"""A watch outlasts errors and hands its lists on; kopf's own code runs around ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from kopf._cogs.clients import errors, fetching, watching
from kopf._cogs.structs.references import Resource

from plimsoll_operator.kube import handlers, watches
from plimsoll_operator.kube.kinds import POD
from plimsoll_operator.kube.pruning import prune

PODS = Resource("", "v1", "pods", namespaced=True)
SECRETS = Resource("", "v1", "secrets", namespaced=True)
ADDED = {"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "7"}}}

SEEN = (POD, ADDED["object"], False)


def refused(kind: type[errors.APIError], status: int) -> errors.APIError:
    return kind({"message": "no", "code": status}, status=status, headers={})  # type: ignore[typeddict-item]


PAGES = tuple({"metadata": {"name": name, "labels": {}}, "status": {}} for name in "bc")

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
        self.told: list[Any] = []
        self.seen: asyncio.Queue[Any] = asyncio.Queue()
        self.fails = 0
        self._list_ends, self._watch_ends = list(list_ends), list(watch_ends)
        # What adapt puts there is taken back at the end of the test.
        monkeypatch.setattr(fetching, "fetch_objs", fetching.fetch_objs)
        monkeypatch.setattr(watching, "continuous_watch", watching.continuous_watch)
        monkeypatch.setattr(watching, "watch_objs", self._events)
        monkeypatch.setattr(watches, "_fetch", self._list)
        monkeypatch.setattr(watches, "AGAIN_SECONDS", 0.0)
        watches.adapt(lambda *listed: self.told.append(listed), self._see)

    def _see(self, *event: Any) -> None:
        if self.fails:
            self.fails -= 1
            raise ValueError("a failure of ours")
        self.seen.put_nowait(event)

    async def _list(self, **_: Any) -> AsyncIterator[Any]:
        self.lists += 1
        if self._list_ends:
            raise self._list_ends.pop(0)
        yield [PAGES[0]], "5"
        yield [PAGES[1]], "5"

    async def _events(self, **_: Any) -> AsyncIterator[Any]:
        if self._watch_ends:
            end = self._watch_ends.pop(0)
            if isinstance(end, Exception):
                raise end
            yield end
        yield ADDED
        await asyncio.Event().wait()

    async def first_event(self, resource: Resource = PODS, namespace: Any = None) -> Any:
        """What is seen first of a kind that we watch, and what kopf gets first of any other."""
        settings = handlers.kopf_settings()
        stream = watching.infinite_watch(settings=settings, resource=resource, namespace=namespace)

        async def of_kopf() -> Any:
            async with aclosing(stream):  # type: ignore[type-var]
                async for event in stream:
                    if not isinstance(event, watching.Bookmark):
                        return event
            raise AssertionError("the watch has ended")

        tasks = [asyncio.create_task(of_kopf()), asyncio.create_task(self.seen.get())]
        async with asyncio.timeout(5):
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done.pop().result()


@pytest.mark.parametrize("end", ENDS, ids=repr)
async def test_a_watch_begins_anew_with_a_list(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: Any
) -> None:
    server = Server(monkeypatch, [], [end])
    assert await server.first_event() == SEEN
    told = [record for record in caplog.records if record.msg == "watch begins anew"]
    if isinstance(end, aiohttp.ClientPayloadError):  # which kopf knows
        return
    assert server.lists == 2
    assert len(told) == 1


@pytest.mark.parametrize("end", ENDS[1:], ids=repr)
async def test_a_list_is_tried_again(monkeypatch: pytest.MonkeyPatch, end: Exception) -> None:
    server = Server(monkeypatch, [end, end], [])
    assert await server.first_event() == SEEN
    assert server.lists == 3


async def test_a_kind_that_is_not_there_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [refused(errors.APINotFoundError, 404)], [])
    with pytest.raises(errors.APINotFoundError):
        await server.first_event()


async def test_a_list_is_handed_on_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [refused(errors.APIClientError, 410)], [])
    assert await server.first_event(namespace="apps") == SEEN  # and no event of the list's
    assert server.told == [(POD, [prune(POD.name, page) for page in PAGES], "5", "apps")]


async def test_an_end_is_told_and_a_bookmark_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [], [{"type": "BOOKMARK", "object": {"metadata": {}}}])
    monkeypatch.setitem(ADDED, "type", "DELETED")
    assert await server.first_event() == (POD, ADDED["object"], True)


async def test_a_failure_of_ours_costs_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [], [{**ADDED, "type": "MODIFIED"}])
    server.fails = 1
    assert await server.first_event() == SEEN
    assert server.lists == 1


async def test_lists_of_other_kinds_are_kopfs(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [], [])
    assert await server.first_event(SECRETS) == {"type": None, "object": PAGES[0]}
    assert server.told == []


def test_it_is_what_kopf_calls() -> None:
    """kopf's own functions are taken from it once, however often a process serves."""
    assert watches._watch.__module__ == watching.__name__
    assert watches._fetch.__module__ == fetching.__name__
    assert handlers.kopf_settings().watching.initial_streaming is False  # else nothing is listed
