"""The engine's side of its socket, around a real engine whose model only counts."""

import logging
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.channel import Channel
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.frames import FrameError
from plimsoll_runtime.engine.messages import (
    Abort,
    Failed,
    FromEngine,
    Load,
    Loaded,
    MessageError,
    Outputs,
    Ready,
    SetLimits,
    Stop,
    Submit,
    ToEngine,
    decode_from_engine,
    encode,
)
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.service import UNSENDABLE, Service, serve
from tests.unit.plimsoll_runtime.engine.played_process import CONFIG

LOAD = Load("", EngineOptions())


@dataclass
class CountingModel:
    """Every request's n-th token is n. `steps.release()` lets one step run."""

    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def warm_up(self) -> None:
        """Nothing to warm."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        self.entered.release()
        assert self.steps.acquire(timeout=10)
        return StepResult(
            {each.request_id: each.output_index for each in output.scheduled if each.samples}
        )

    def run(self, count: int) -> None:
        for _ in range(count):
            self.steps.release()


class Server:
    """The other end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        self.channel = Channel(ours)
        self.model = CountingModel()
        self.engine = Engine(Scheduler(EngineLimits(8, 64, 64, 64, 4)), self.model, CONFIG)
        self.outgoing = Channel(theirs)
        self.service = Service(self.outgoing, self.engine)
        self.theirs = theirs

    def next(self) -> Outputs:
        """What the next step brings; changes of the queue alone are passed over."""
        while True:
            message = self.receive()
            assert isinstance(message, Outputs)
            if message.outputs or (message.stats and message.stats.step_samples):
                return message

    def receive(self) -> FromEngine:
        payload = self.channel.receive()
        assert payload is not None
        return decode_from_engine(payload)

    def until_ended(self, *names: str) -> dict[str, list[RequestOutput]]:
        """All outputs until every one of these requests has ended."""
        found: dict[str, list[RequestOutput]] = {name: [] for name in names}
        while not all(each and each[-1].finish_reason for each in found.values()):
            for output in self.next().outputs:
                found[output.request_id].append(output)
        return found

    def close(self) -> None:
        self.model.run(1000)
        self.engine.stop()
        self.channel.socket.close()
        self.theirs.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def submit(name: str, max_tokens: int = 3, prompt: int = 2) -> bytes:
    return payload(Submit(Request(name, [1] * prompt, SamplingParams(max_tokens), 0.0)))


def payload(message: ToEngine) -> bytes:
    return encode(message)[4:]


def test_all_that_a_step_brings_comes_in_one_message(server: Server) -> None:
    for name in ("a", "b", "c"):
        server.service.handle(submit(name))
    server.engine.start()
    for step in range(3):
        server.model.run(1)
        outputs = server.next().outputs
        assert [(each.request_id, each.new_token_ids) for each in outputs] == [
            (name, (step,)) for name in ("a", "b", "c")
        ]
        assert all((each.finish_reason is not None) == (step == 2) for each in outputs)


def test_aborted_requests_are_told_though_no_step_runs(server: Server) -> None:
    server.engine.start()
    server.service.handle(submit("a"))
    server.service.handle(payload(Abort("a")))
    server.model.run(3)
    assert server.until_ended("a")["a"][-1].finish_reason is FinishReason.ABORT


def wrong_type(name: str) -> bytes:
    params = SamplingParams(3, top_k="many")  # type: ignore[arg-type]
    return payload(Submit(Request(name, [1], params, 0.0)))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (wrong_type, r"Expected `int`, got `str`.*top_k"),
        (lambda name: submit(name, prompt=64), "the prompt has 64 tokens"),
        (lambda name: submit(name, max_tokens=-1), "max_tokens must be at least 0"),
    ],
)
def test_a_request_that_is_wrong_ends_alone(
    server: Server, make: Callable[[str], bytes], error: str
) -> None:
    server.engine.start()
    server.service.handle(submit("good"))
    server.service.handle(make("bad"))
    server.model.run(3)
    found = server.until_ended("good", "bad")
    assert [each.new_token_ids for each in found["good"]] == [(0,), (1,), (2,)]
    (end,) = found["bad"]
    assert end.finish_reason is FinishReason.ERROR
    assert end.refused == (make is not wrong_type), "what the server lets pass is not the client's"
    assert re.search(error, end.error or "")


def test_what_concerns_no_request_is_the_end(server: Server) -> None:
    for bad, text in ((b"\xc0", "Expected `object`"), (payload(LOAD), "a second Load")):
        with pytest.raises(MessageError, match=text):
            server.service.handle(bad)


def test_listening_ends_when_the_server_closes(server: Server) -> None:
    server.channel.send(Abort("nobody"))
    server.channel.socket.close()
    server.service.listen()


def test_an_output_that_cannot_be_sent_ends_its_request_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send = server.outgoing.send

    def limited(message: FromEngine) -> None:
        assert isinstance(message, Outputs)
        if any(each.request_id == "big" and each.new_token_ids for each in message.outputs):
            raise FrameError("a message of too many bytes")
        send(message)

    monkeypatch.setattr(server.outgoing, "send", limited)
    server.service.handle(submit("big"))
    server.service.handle(submit("good"))
    server.engine.start()
    server.model.run(4)
    with caplog.at_level(logging.CRITICAL, "plimsoll_runtime.engine.service"):
        found = server.until_ended("good", "big")
    assert [each.new_token_ids for each in found["good"]] == [(0,), (1,), (2,)]
    assert (found["big"][0].finish_reason, found["big"][0].error) == (
        FinishReason.ERROR,
        UNSENDABLE,
    )


def test_figures_come_with_every_step_and_each_sample_once(server: Server) -> None:
    server.service.handle(submit("short", 4))
    server.service.handle(submit("long", 9))
    server.engine.start()
    told = []
    for _ in range(9):
        server.model.run(1)
        message = server.next()
        assert message.stats is not None
        told.append(message.stats)
    assert message.num_submitted == 2
    assert [stats.num_running for stats in told] == [2, 2, 2, 1, 1, 1, 1, 1, 0]
    assert all(len(stats.step_samples) == 1 for stats in told)
    samples = [sample for stats in told for sample in stats.step_samples]
    assert tuple(samples) == server.engine.stats().step_samples


def test_a_change_of_the_queue_is_told_while_the_step_runs(server: Server) -> None:
    server.engine.start()
    server.service.handle(submit("a"))
    told = server.receive()  # no step has been let through
    assert isinstance(told, Outputs)
    assert told.stats is not None
    assert (told.outputs, told.stats.num_running, told.stats.num_waiting) == ([], 1, 0)
    assert told.num_submitted <= 1
    server.model.run(3)
    assert [server.next().num_submitted for _ in range(3)] == [1, 1, 1]


def test_limits_are_changed_and_told_without_a_step(server: Server) -> None:
    server.engine.start()
    fewer = server.engine.limits.live._replace(max_num_seqs=2)
    server.service.handle(payload(SetLimits(fewer)))
    told = server.receive()
    assert isinstance(told, Outputs)
    assert told.stats is not None
    assert told.stats.limits == fewer


def test_limits_that_cannot_be_change_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    before = server.engine.stats().limits
    with caplog.at_level(logging.CRITICAL, "plimsoll_runtime.engine.service"):
        server.service.handle(payload(SetLimits(before._replace(max_num_seqs=9))))
    assert server.engine.stats().limits == before


def test_stop_ends_what_runs_and_the_engine(server: Server) -> None:
    server.service.handle(submit("a", 50))
    server.engine.start()
    server.model.run(1)
    assert server.next().outputs[0].new_token_ids == (0,)
    threading.Timer(0.02, server.model.run, [1]).start()
    server.service.handle(payload(Stop()))
    assert server.engine.join()
    assert server.until_ended("a")["a"][-1].finish_reason is FinishReason.ABORT


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (ValueError("no such dtype"), Failed("no such dtype", bad_input=True), 2),
        (FileNotFoundError("no weights"), Failed("no weights", bad_input=True), 2),
        (RuntimeError("CUDA is unwell"), Failed("RuntimeError: CUDA is unwell"), 1),
        (MemoryError(), Failed("MemoryError: "), 1),
    ],
)
def test_an_engine_that_cannot_be_made_says_why(
    server: Server,
    error: Exception,
    said: Failed,
    code: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make(load: Load) -> Engine:
        assert load == LOAD
        raise error

    server.channel.send(LOAD)
    with caplog.at_level(logging.CRITICAL, "plimsoll_runtime.engine.service"):
        assert serve(server.theirs, make) == code
    assert server.receive() == said


def test_an_engine_that_fails_in_the_midst_of_a_step_is_told_and_a_closed_socket_ends_all(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: queue.Queue[int] = queue.Queue()
    monkeypatch.setattr("plimsoll_runtime.engine.service._exit", codes.put)
    server.channel.send(LOAD)
    served = threading.Thread(
        target=lambda: codes.put(10 + serve(server.theirs, lambda _: server.engine))
    )
    served.start()
    assert isinstance(server.receive(), Loaded)
    assert server.receive() == Ready()
    server.channel.send(Submit(Request("a", [1], SamplingParams(3), 0.0)))
    server.model.run(1)
    assert server.next().outputs[0].new_token_ids == (0,)
    for _ in range(2):
        assert server.model.entered.acquire(timeout=10)
    server.engine.failed = RuntimeError("a rank is gone")
    assert server.receive() == Failed("RuntimeError: a rank is gone")
    assert codes.get(timeout=10) == 11
    server.channel.socket.close()
    assert codes.get(timeout=10) == 1


def test_a_server_that_says_nothing_gets_no_engine(server: Server) -> None:
    server.channel.send(Stop())
    with pytest.raises(MessageError, match="Stop came before Load"):
        serve(server.theirs, lambda _: server.engine)
    server.channel.socket.close()
    assert serve(server.theirs, lambda _: server.engine) == 1
