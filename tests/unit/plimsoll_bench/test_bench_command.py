"""The command: what it refuses before a server is asked, and what it writes."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll_bench import driver, session
from plimsoll_bench.command import main
from plimsoll_bench.exchange import Target
from tests.unit.plimsoll_bench.scripted_server import Json, serving, status, stream

NOBODY = "http://127.0.0.1:1"


async def answer(asked: Json, writer: asyncio.StreamWriter) -> None:
    """Requests without a body ask for the list of models."""
    await (stream(asked, writer) if asked else status(writer, 200, b'{"data": [{"id": "m"}]}'))


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on a loop of its own, as the command has one, too."""
    monkeypatch.setattr(driver, "LEAD_SECONDS", 0.01)
    monkeypatch.setattr(session, "PAUSE_SECONDS", 0.0)
    ready, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    found: list[Target] = []

    async def serve() -> None:
        async with serving(answer) as target:
            found.append(target)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{found[0].port}"
    loop.call_soon_threadsafe(over.set)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--save", "FOLDER/none/a.json"], "there is no folder"),
        (["--plot", "FOLDER/none/a.svg"], "there is no folder"),
        (["--save", "FOLDER"], "is a folder"),
        (["--ramp"], "--ramp takes W5 or a trace"),
        (["--workload", "W9"], "W9"),
    ],
)
def test_refused_before_the_server_is_asked(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [each.replace("FOLDER", str(tmp_path)) for each in options]
    assert main([NOBODY, "--model", "m", *named]) == 2
    assert told in capsys.readouterr().err


def test_json_and_pictures(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts = {"a.svg": b"<svg", "a.png": b"\x89PNG"}
    for name, start in starts.items():
        picture, saved = tmp_path / name, tmp_path / "a.json"
        written = ["--plot", str(picture), "--save", str(saved), "-o", "json"]
        assert main([url, "--workload", "W2", "--repetitions", "2", *written]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document == json.loads(saved.read_text(encoding="utf-8"))
        assert [run["figures"]["prompt_tokens"] for run in document["runs"]] == [1024, 1024]
        assert picture.read_bytes().startswith(start)
