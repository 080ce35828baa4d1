"""The mix is the same for the same seed, and is judged by the answers it should get."""

import json

import httpx
import pytest

from e2e.soak.requests import CHAT, COMPLETIONS, EMBEDDINGS, Requests, Shot
from e2e.soak.sending import fault
from plimsoll_runtime.server.operations import OPERATIONS

PATHS = frozenset(path for _, path in OPERATIONS)


def shots(seed: int, paths: frozenset[str] = PATHS, count: int = 400) -> list[Shot]:
    requests = Requests(seed, paths)
    return [requests.next() for _ in range(count)]


def test_a_seed_decides_everything() -> None:
    assert shots(3) == shots(3)
    assert shots(3) != shots(4)


def test_only_paths_that_the_server_has_are_asked_for() -> None:
    assert {each.path for each in shots(1, frozenset({CHAT, COMPLETIONS}))} == {CHAT, COMPLETIONS}
    assert EMBEDDINGS in {each.path for each in shots(1, PATHS | {EMBEDDINGS})}


def test_all_kinds_come_and_what_should_be_read_is_json() -> None:
    found = shots(1, count=1000)
    assert len({each.kind for each in found}) >= 14
    for each in found:
        if each.method == "POST" and 200 in each.statuses:
            assert isinstance(json.loads(each.content), dict)


STREAM = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("status", "headers", "text", "wrong"),
    [
        (200, STREAM, 'data: {"a":1}\n\ndata: [DONE]\n\n', ""),
        (200, STREAM, 'event: x\ndata: {"type":"response.completed","a":1}\n\n', ""),
        (200, STREAM, 'data: {"a":1}\n\n', "ends with"),
        (200, STREAM, "", "ends with"),
        (200, STREAM, 'data: {"error":{"message":"m"}}\n\ndata: [DONE]\n\n', "has an error"),
        (200, JSON, '{"choices":[]}', ""),
        (400, JSON, '{"error":{"message":"temperature: must be a number"}}', ""),
        (400, JSON, '{"error":{"message":""}}', "says nothing"),
    ],
)
def test_a_fault_of_an_answer_is_told(
    status: int, headers: dict[str, str], text: str, wrong: str
) -> None:
    told = fault(httpx.Response(status, headers=headers, text=text))
    assert wrong in told
    assert bool(told) == bool(wrong)
