"""The server's side of the engine's socket, against a peer that says what the test wants."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.request import FinishReason, RequestOutput
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.messages import (
    Abort,
    Loaded,
    MessageError,
    Outputs,
    Ready,
    SetLimits,
    Submit,
)
from plimsoll_runtime.engine.remote import RemoteEngine
from plimsoll_runtime.engine.stats import StepSample
from tests.unit.plimsoll_runtime.engine.played_process import (
    CONFIG,
    LIMITS,
    LOADED,
    STATS,
    STOPPED,
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


def test_loading_goes_from_loaded_to_ready(process: PlayedProcess) -> None:
    process.peer.send(LOADED)
    process.peer.send(Ready())
    engine = RemoteEngine(process, process.receive(Loaded))
    assert (engine.limits, engine.model_config) == (LOADED.limits, CONFIG)
    assert not engine.ready
    engine.start()
    assert engine.ready
    assert engine.failed is None


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
        figures = STATS._replace(num_running=2, num_steps=number, step_samples=(sample,))
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
    process.peer.send(Outputs([], STATS._replace(num_running=1, waiting=told), num_submitted=2))
    await until(lambda: engine.stats().num_running == 1)
    assert engine.stats().waiting == (*told, QueueCount("x", 0, 1, 2))
    process.peer.send(Outputs([], STATS._replace(num_running=3), num_submitted=3))
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
    process.peer.send(Outputs([], STATS._replace(num_steps=1)))  # from before they arrived
    await until(lambda: engine.stats().num_steps == 1)
    assert engine.stats().limits == fewer
    process.peer.send(Outputs([], STATS._replace(num_steps=2, limits=fewer)))
    await until(lambda: engine.stats().num_steps == 2)
    process.peer.send(Outputs([], STATS._replace(num_steps=3)))
    await until(lambda: engine.stats().num_steps == 3)
    assert engine.stats().limits == LIMITS.live
    engine.stop()
    with pytest.raises(EngineFailedError, match="the engine has ended: stopped"):
        engine.set_limits(fewer)


def test_a_request_that_no_message_can_carry_is_the_callers_fault() -> None:
    assert issubclass(MessageError, ValueError)
