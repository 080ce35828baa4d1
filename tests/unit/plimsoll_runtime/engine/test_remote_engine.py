"""The server's side of the engine's socket, against a peer that says what the test wants."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.engine import remote
from plimsoll_runtime.engine.channel import Channel
from plimsoll_runtime.engine.child import EngineInputError, EngineProcess
from plimsoll_runtime.engine.errors import ENGINE_FAILED, EngineFailedError
from plimsoll_runtime.engine.messages import (
    Abort,
    Failed,
    Loaded,
    MessageError,
    Outputs,
    Ready,
    SetLimits,
    Stop,
    Submit,
    ToEngine,
    decode_to_engine,
)
from plimsoll_runtime.engine.remote import RemoteEngine
from plimsoll_runtime.engine.stats import EngineStats, StepSample

CONFIG = ModelConfig.from_hf(
    {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "vocab_size": 97,
    }
)
LIMITS = EngineLimits(8, 32, 64, 64, 4)
STATS = EngineStats(0, 0, 0.0, 64, 4, 0, 0, 0, 0, 0.0, 0.0, (), LIMITS.live, (), None)
LOADED = Loaded(LIMITS, CONFIG, STATS)
STOPPED = RequestOutput("a", (5,), FinishReason.STOP)


class PlayedProcess(EngineProcess):
    """A process that is only a socket; the test sits at its other end, `peer`."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        theirs.settimeout(5)
        self.channel = Channel(ours)
        self.peer = Channel(theirs)
        self.dead = False
        self.killed = False

    @property
    def ended(self) -> bool:
        return self.dead

    def wait(self, seconds: float) -> bool:
        return self.dead

    def kill(self) -> None:
        self.dead = self.killed = True

    def describe_end(self) -> str:
        return "was played"

    def next(self) -> ToEngine:
        payload = self.peer.receive()
        assert payload is not None
        return decode_to_engine(payload)

    def silent(self) -> bool:
        """Whether nothing was sent that `next` has not returned."""
        self.peer.socket.setblocking(False)
        try:
            self.peer.read()
        except BlockingIOError:
            return True
        finally:
            self.peer.socket.settimeout(5)
        return False


@pytest.fixture
def process() -> Iterator[PlayedProcess]:
    played = PlayedProcess()
    yield played
    played.channel.socket.close()
    played.peer.socket.close()


@pytest.fixture
async def engine(process: PlayedProcess) -> RemoteEngine:
    """Ready, and attached to the test's loop."""
    process.peer.send(LOADED)
    engine = RemoteEngine(process, process.receive(Loaded))
    process.peer.send(Ready())
    engine.start()
    engine.attach(asyncio.get_running_loop())
    return engine


def request(name: str = "a", prompt: list[int] | None = None, **sampling: Any) -> Request:
    return Request(name, prompt or [1, 2], SamplingParams(**({"max_tokens": 9} | sampling)), 0.0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def test_loading_goes_from_loaded_to_ready(process: PlayedProcess) -> None:
    process.peer.send(LOADED)
    process.peer.send(Ready())
    engine = RemoteEngine(process, process.receive(Loaded))
    assert (engine.limits, engine.model_config) == (LOADED.limits, CONFIG)
    assert not engine.ready
    engine.start()
    assert engine.ready
    assert engine.failed is None


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


async def test_requests_go_out_and_outputs_come_back(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    outputs: list[RequestOutput] = []
    engine.submit(request("a", seed=3), outputs.append)
    engine.submit(request("b"), outputs.append)
    assert process.next() == Submit(request("a", seed=3))
    assert process.next() == Submit(request("b"))
    sent = [
        RequestOutput("a", (5,), first_scheduled_time=1.5, cached_tokens=3),
        RequestOutput("b", (6,), FinishReason.LENGTH),
        RequestOutput("nobody", (7,)),
    ]
    process.peer.send(Outputs(sent))
    process.peer.send(Outputs([STOPPED, RequestOutput("b", (9,))]))
    await until(lambda: len(outputs) == 3)
    assert outputs == [*sent[:2], STOPPED]


async def test_what_cannot_be_served_is_refused_before_it_is_sent(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    for bad, text in (
        (request(prompt=[1] * 64), "64 tokens"),
        (request(prompt=[97]), "token id 97 is not in the vocabulary of 97"),
        (request(max_tokens=-1), "max_tokens"),
        (request(seed=2**64), "Submit cannot be sent"),
        (request("\ud800"), "Submit cannot be sent"),
    ):
        with pytest.raises(ValueError, match=text):
            engine.submit(bad, lambda _: None)
    assert process.silent()
    engine.submit(request(), lambda _: None)
    with pytest.raises(ValueError, match="'a' is in use"):
        engine.submit(request(), lambda _: None)


async def test_abort_is_sent_for_what_is_unfinished_and_answered_once(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    outputs: list[RequestOutput] = []
    engine.abort("a")
    engine.submit(request(), outputs.append)
    engine.abort("a")
    assert isinstance(process.next(), Submit)
    assert process.next() == Abort("a")
    end = RequestOutput("a", (), FinishReason.ABORT)
    process.peer.send(Outputs([end]))
    await until(lambda: outputs)
    assert outputs == [end]
    engine.abort("a")
    assert process.silent()


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


async def test_a_callback_that_raises_hurts_nobody_else(
    engine: RemoteEngine, process: PlayedProcess, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(output: RequestOutput) -> None:
        raise RuntimeError("no")

    outputs: list[RequestOutput] = []
    engine.submit(request("broken"), broken)
    engine.submit(request(), outputs.append)
    process.peer.send(Outputs([RequestOutput("broken", (1,)), STOPPED]))
    with caplog.at_level(logging.CRITICAL, "plimsoll_runtime.engine.remote"):
        await until(lambda: outputs)
    assert outputs == [STOPPED]
    assert [type(process.next()) for _ in range(3)] == [Submit, Submit, Abort]
    engine.submit(request("broken"), outputs.append)


async def test_more_than_the_socket_takes_at_once_arrives_whole(
    process: PlayedProcess,
) -> None:
    limits = EngineLimits(8, 32, 400_000, 100_000, 4)
    engine = RemoteEngine(process, Loaded(limits, CONFIG, STATS))
    engine.attach(asyncio.get_running_loop())
    sent = [request(f"r{i}", [i] * 300_000) for i in range(4)]
    for each in sent:
        engine.submit(each, lambda _: None)
    engine.abort("r1")
    got = [await asyncio.to_thread(process.next) for _ in range(5)]
    assert got == [*map(Submit, sent), Abort("r1")]


async def test_figures_are_the_engines_and_the_queue_is_live(
    process: PlayedProcess,
) -> None:
    now = [10.0]
    engine = RemoteEngine(process, LOADED, clock=lambda: now[0])
    engine.attach(asyncio.get_running_loop())
    now[0] = 500.0
    assert engine.stats().stalled_seconds == 0, "nothing to do"
    for name in ("a", "b", "c"):
        engine.submit(request(name), lambda _: None)
    now[0] = 507.0
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.stalled_seconds) == (0, 3, 7.0)
    samples = [StepSample(1, 2, 2, 3, 0.5), StepSample(4, 5, 9, 6, 0.5)]
    for number, sample in enumerate(samples, 1):
        figures = replace(STATS, num_running=2, num_steps=number, step_samples=(sample,))
        process.peer.send(Outputs([], figures, num_submitted=2))
    await until(lambda: engine.stats().num_steps == 2)
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.stalled_seconds) == (2, 1, 0.0)
    assert stats.step_samples == tuple(samples)


async def test_who_waits_is_what_the_engine_told_and_what_was_sent_since(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    for name, tenant in (("a", "x"), ("b", "y"), ("c", "x")):
        engine.submit(replace(request(name), tenant=tenant), lambda _: None)
    told = (QueueCount("x", 0, 1, 2),)
    process.peer.send(Outputs([], replace(STATS, num_running=1, waiting=told), num_submitted=2))
    await until(lambda: engine.stats().num_running == 1)
    assert engine.stats().waiting == (*told, QueueCount("x", 0, 1, 2))
    process.peer.send(Outputs([], replace(STATS, num_running=3), num_submitted=3))
    await until(lambda: engine.stats().num_running == 3)
    assert engine.stats().waiting == ()
    assert engine.stats().num_waiting == 0


async def test_limits_are_checked_here_and_hold_at_once(
    engine: RemoteEngine, process: PlayedProcess
) -> None:
    for wrong in (LIMITS.live._replace(max_num_seqs=9), LIMITS.live._replace(num_usable_blocks=0)):
        with pytest.raises(ValueError, match=r"max_num_seqs 9|num_usable_blocks"):
            engine.set_limits(wrong)
    assert process.silent()
    fewer = LIMITS.live._replace(max_num_seqs=2)
    engine.set_limits(fewer)
    assert process.next() == SetLimits(fewer)
    process.peer.send(Outputs([], replace(STATS, num_steps=1)))  # from before they arrived
    await until(lambda: engine.stats().num_steps == 1)
    assert engine.stats().limits == fewer
    process.peer.send(Outputs([], replace(STATS, num_steps=2, limits=fewer)))
    await until(lambda: engine.stats().num_steps == 2)
    process.peer.send(Outputs([], replace(STATS, num_steps=3)))
    await until(lambda: engine.stats().num_steps == 3)
    assert engine.stats().limits == LIMITS.live
    engine.stop()
    with pytest.raises(EngineFailedError, match="the engine has ended: stopped"):
        engine.set_limits(fewer)


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


def test_a_request_that_no_message_can_carry_is_the_callers_fault() -> None:
    assert issubclass(MessageError, ValueError)
