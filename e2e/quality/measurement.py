"""One variant reads a text and goes on with it, through the engine that serves requests."""

import math
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plimsoll_runtime.core.request import Request, RequestOutput, SamplingParams
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions

BEGINNING = 32
"""Tokens of a window that are gone on with."""
CONTINUATION = 64
TIMEOUT = 300.0


@dataclass(frozen=True)
class Measured:
    """Of each token of the text its log-probability, and the likeliest one in its place; the greedy
    continuations; and tokens per second of reading and of writing."""

    logprobs: tuple[float, ...]
    likeliest: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    read_rate: float
    written_rate: float

    @property
    def perplexity(self) -> float:
        """Per token: exp of the mean negative log-probability."""
        return math.exp(-sum(self.logprobs) / len(self.logprobs))


@dataclass(frozen=True)
class Agreement:
    """Shares of all: of `positions` in the text with the same likeliest token, of `tokens` written
    before the first that differs, and of continuations that are the same to their end."""

    positions: float
    tokens: float
    continuations: float


def measure(
    model: Path, options: EngineOptions, windows: Sequence[Sequence[int]], continued: int
) -> Measured:
    """Reads all windows, and goes on with the beginnings of the first `continued`.

    Raises RuntimeError when the engine gives an error for one.
    """
    engine = load_engine(model, options)
    engine.start()
    try:
        reading = SamplingParams(max_tokens=0, prompt_logprobs=1)
        began = time.monotonic()
        read = _run(engine, "read", windows, reading)
        read_seconds = time.monotonic() - began
        writing = SamplingParams(max_tokens=CONTINUATION, temperature=0.0)
        beginnings = [window[:BEGINNING] for window in windows[:continued]]
        began = time.monotonic()
        written = _run(engine, "write", beginnings, writing)
        write_seconds = time.monotonic() - began
    finally:
        engine.stop()
    scores = [score for answer in read for output in answer for score in output.prompt_logprobs]
    return Measured(
        logprobs=tuple(score.logprob for score in scores),
        likeliest=tuple(score.top[0][0] for score in scores),
        continuations=tuple(
            tuple(token for output in answer for token in output.new_token_ids)
            for answer in written
        ),
        read_rate=len(scores) / read_seconds,
        written_rate=continued * CONTINUATION / write_seconds,
    )


def agreement(one: Measured, other: Measured) -> Agreement:
    """How often both say the same. Raises ValueError where they were not given the same."""
    pairs = list(zip(one.continuations, other.continuations, strict=True))
    same = sum(a == b for a, b in zip(one.likeliest, other.likeliest, strict=True))
    return Agreement(
        positions=same / len(one.likeliest),
        tokens=sum(_common(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs),
        continuations=sum(a == b for a, b in pairs) / len(pairs),
    )


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return next(differing, len(one))


def _run(
    engine: Engine, name: str, prompts: Sequence[Sequence[int]], sampling: SamplingParams
) -> list[list[RequestOutput]]:
    boxes: list[queue.Queue[RequestOutput]] = []
    for number, prompt in enumerate(prompts):
        boxes.append(queue.Queue())
        request = Request(f"{name}{number}", list(prompt), sampling, float(number))
        engine.submit(request, boxes[-1].put)
    return [_answer(box) for box in boxes]


def _answer(box: "queue.Queue[RequestOutput]") -> list[RequestOutput]:
    outputs: list[RequestOutput] = []
    while not outputs or outputs[-1].finish_reason is None:
        outputs.append(box.get(timeout=TIMEOUT))
        if outputs[-1].error is not None:
            raise RuntimeError(f"the engine could not: {outputs[-1].error}")
    return outputs
