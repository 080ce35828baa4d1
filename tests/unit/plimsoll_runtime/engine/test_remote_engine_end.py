"""How the server learns that the engine's process failed, ended or talks nonsense."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from plimsoll_runtime.core.request import FinishReason, RequestOutput
from plimsoll_runtime.engine import remote
from plimsoll_runtime.engine.child import EngineInputError
from plimsoll_runtime.engine.errors import ENGINE_FAILED, EngineFailedError
from plimsoll_runtime.engine.messages import (
    Failed,
    Loaded,
    Outputs,
    Ready,
    Stop,
    Submit,
)
from plimsoll_runtime.engine.remote import RemoteEngine
from tests.unit.plimsoll_runtime.engine.played_process import (
    LOADED,
    PlayedProcess,
    played,
    request,
    serving,
    until,
)


@pytest.fixture
def process() -> Iterator[PlayedProcess]:
    with played() as found:
        yield found


@pytest.fixture
async def engine(process: PlayedProcess) -> RemoteEngine:
    return serving(process)


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        (Failed("no such folder", bad_input=True), EngineInputError, "^no such folder$"),
        (Failed("RuntimeError: cold"), EngineFailedError, "^RuntimeError: cold$"),
        (Ready(), EngineFailedError, "sent Ready instead of Loaded"),
        (None, EngineFailedError, "the engine's process was played"),
        (b"GET / HTTP/1.1", EngineFailedError, "cannot be understood: a frame claims"),
        (b"\0\0\0\1\xc0", EngineFailedError, "cannot be understood: a message of 1 bytes"),
    ],
)
def test_what_goes_wrong_while_loading_is_told(
    process: PlayedProcess, said: Any, error: type[Exception], text: str
) -> None:
    if said is None:
        process.peer.socket.close()
    elif isinstance(said, bytes):
        process.peer.socket.sendall(said)
    else:
        process.peer.send(said)
    with pytest.raises(error, match=text):
        process.receive(Loaded)


def test_a_process_that_ends_with_unread_messages_has_ended(process: PlayedProcess) -> None:
    process.channel.send(Stop())
    process.peer.socket.close()
    with pytest.raises(EngineFailedError, match="the engine's process was played"):
        process.receive(Loaded)


async def test_the_end_of_the_process_ends_every_request_at_once(
    engine: RemoteEngine,
    process: PlayedProcess,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "EXIT_SECONDS", 0.0)
    outputs: list[RequestOutput] = []
    for name in ("a", "b"):
        engine.submit(request(name), outputs.append)
    process.peer.send(Outputs([RequestOutput("a", (5,))]))
    process.peer.socket.close()
    with caplog.at_level(logging.ERROR):
        await until(lambda: len(outputs) == 3)
        await until(lambda: caplog.messages)
    assert outputs[0] == RequestOutput("a", (5,))
    assert {(each.request_id, each.finish_reason, each.error) for each in outputs[1:]} == {
        (name, FinishReason.ERROR, ENGINE_FAILED) for name in ("a", "b")
    }
    assert caplog.messages == ["the engine's process was played"]
    assert str(engine.failed) == "the engine's process ended"
    assert not engine.ready
    with pytest.raises(EngineFailedError, match="takes no requests: the engine's process ended"):
        engine.submit(request("late"), outputs.append)
    assert engine.stats().stalled_seconds == 0


async def test_an_end_that_the_socket_does_not_tell_is_noticed_too(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    outputs: list[RequestOutput] = []
    engine.submit(request(), outputs.append)
    process.peer.send(Outputs([RequestOutput("a", (5,))]))
    process.dead = True
    assert str(engine.failed) == "the engine's process ended"
    assert [each.new_token_ids for each in outputs] == [(5,), ()], "what was sent came first"


async def test_an_engine_that_says_why_it_failed_is_quoted(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    outputs: list[RequestOutput] = []
    engine.submit(request(), outputs.append)
    process.peer.send(Failed("RuntimeError: out of luck"))
    process.peer.socket.close()
    await until(lambda: engine.failed is not None)
    assert str(engine.failed) == "RuntimeError: out of luck"
    assert outputs[-1].error == ENGINE_FAILED, "clients have no use for it"


@pytest.mark.parametrize("garbage", [b"\xff" * 8, b"\0\0\0\1\xc0"])
async def test_a_process_that_talks_nonsense_is_ended(
    engine: RemoteEngine, process: PlayedProcess, garbage: bytes
) -> None:
    process.peer.socket.sendall(garbage)
    await until(lambda: process.killed)
    assert "cannot be understood" in str(engine.failed)


async def test_a_message_out_of_turn_is_nonsense(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    process.peer.send(LOADED)
    await until(lambda: process.killed)
    assert "Loaded was sent while requests are served" in str(engine.failed)


async def test_what_came_with_ready_is_not_forgotten(process: PlayedProcess) -> None:
    for message in (LOADED, Ready(), Failed("at once")):
        process.peer.send(message)
    engine = RemoteEngine(process, process.receive(Loaded))
    engine.start()
    engine.attach(asyncio.get_running_loop())
    assert str(engine.failed) == "at once"


async def test_stop_tells_the_engine_and_ends_what_is_left(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    outputs: list[RequestOutput] = []
    engine.submit(request(), outputs.append)
    process.dead = True
    engine.stop()
    engine.stop()
    assert isinstance(process.next(), Submit)
    assert process.next() == Stop()
    assert not process.killed
    assert [each.finish_reason for each in outputs] == [FinishReason.ABORT]
    assert engine.failed is None
    with pytest.raises(EngineFailedError, match="stopped"):
        engine.submit(request("late"), outputs.append)


async def test_a_process_that_does_not_stop_is_killed(
    engine: RemoteEngine, process: PlayedProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL, "plimsoll_runtime.engine.remote"):
        engine.stop()
    assert process.killed
    assert engine.failed is None
