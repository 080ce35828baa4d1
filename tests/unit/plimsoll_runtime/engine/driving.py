"""Sends requests to an engine and waits for its answers, with a runner that fails as told."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from plimsoll_runtime.core.request import Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.runner import ModelRunner

TIMEOUT = 30.0
MakeEngine = Callable[..., Engine]
Greedy = Callable[[list[int], int], list[int]]


@dataclass
class Collector:
    """Takes the outputs of one request, from the engine's thread."""

    outputs: "queue.Queue[RequestOutput]" = field(default_factory=queue.Queue)

    def __call__(self, output: RequestOutput) -> None:
        self.outputs.put(output)

    def wait(self) -> tuple[list[int], RequestOutput]:
        """All tokens, and the last output."""
        tokens: list[int] = []
        while True:
            output = self.outputs.get(timeout=TIMEOUT)
            tokens += output.new_token_ids
            if output.finish_reason is not None:
                assert self.outputs.empty(), "an output after the last"
                return tokens, output


def request(
    name: str, prompt: list[int], max_tokens: int = 8, arrival: float = 0.0, **sampling: object
) -> Request:
    """A greedy request unless told otherwise."""
    parameters = {"temperature": 0.0} | sampling
    return Request(name, prompt, SamplingParams(max_tokens, **parameters), arrival)  # type: ignore[arg-type]


def submit(engine: Engine, *requests: Request) -> list[Collector]:
    collectors = []
    for item in requests:
        collectors.append(Collector())
        engine.submit(item, collectors[-1])
    return collectors


def prompts(count: int) -> list[list[int]]:
    return [[(7 * i + 3 * j) % 97 for j in range(1 + 5 * i % 29)] for i in range(count)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class Faulty:
    """The real runner, which raises when it is told to and can be held at a step."""

    def __init__(self, real: ModelRunner) -> None:
        self.real = real
        self.failures = 0
        self.broken_warm_up = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def execute(self, output: SchedulerOutput) -> StepResult:
        self.entered.set()
        assert self.gate.wait(TIMEOUT)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("out of luck")
        return self.real.execute(output)

    def warm_up(self) -> None:
        if self.broken_warm_up:
            raise RuntimeError("cold")
        self.real.warm_up()


def faulty(engine: Engine) -> Faulty:
    runner = engine._runner
    assert isinstance(runner, Faulty)
    return runner
