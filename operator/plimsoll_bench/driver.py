"""Sends a load to a server, each request when it is due, whatever became of those before."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from plimsoll_bench.dialect import Dialect, body
from plimsoll_bench.events import Answer, StreamError
from plimsoll_bench.exchange import Target, exchange
from plimsoll_bench.load import Load, Request
from plimsoll_bench.record import Failure, Record
from plimsoll_bench.token_ids import TokenRange

MOST_UNDER_WAY = 8192
"""Requests; those that come due beyond it are counted as failures."""
PREPARED_BYTES = 256 * 2**20
"""Of requests that are made before they are due."""
BEAT_SECONDS = 0.02
LEAD_SECONDS = 0.2
"""Before the first request."""


Decode = Callable[[list[int]], str]


class NoTokenizerError(ValueError):
    """Prompts must be text, and nothing makes text of token ids."""


@dataclass(frozen=True)
class Asking:
    """How a server is asked. `patience` is in seconds, from when a request is sent."""

    target: Target
    model: str
    dialect: Dialect
    tokens: TokenRange
    patience: float
    decode: Decode | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def request(self, request: Request) -> bytes:
        """The bytes of one. Raises NoTokenizerError."""
        ids = request.token_ids(self.tokens)
        prompt: list[int] | str = ids
        if self.dialect.wants_text:
            if self.decode is None:
                raise NoTokenizerError(
                    "prompts must go as text, which takes the model's tokenizer: name its folder "
                    "with --tokenizer"
                )
            prompt = self.decode(ids)
        content = body(self.dialect, self.model, prompt, request.output_tokens, self.extra)
        return self.target.request(self.dialect.path, content)


@dataclass(frozen=True)
class Driven:
    """What became of a load. `lags` are seconds by which the client's own timer came too late,
    `cpu_seconds` what it computed meanwhile."""

    records: tuple[Record, ...]
    lags: Sequence[float]
    cpu_seconds: float
    seconds: float


async def drive(load: Load, asking: Asking) -> Driven:
    """Sends all and waits until all have ended; failures are records too."""
    prepared = _prepared(load.requests, asking)
    ready = chain([next(prepared)], prepared) if load.requests else prepared
    gc.collect()
    gc.freeze()
    cpu = time.process_time()
    start = time.monotonic() + LEAD_SECONDS
    client = _Client(asking, start, len(load.requests))
    lags: list[float] = []
    beat = asyncio.create_task(_beat(lags))
    try:
        if load.concurrency is None:
            await client.open_loop(ready)
        else:
            await client.closed_loop(ready, load.concurrency)
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat
        gc.unfreeze()
    seconds = time.monotonic() - start
    return Driven(client.found(), lags, time.process_time() - cpu, seconds)


_Prepared = tuple[int, Request, bytes]


def _prepared(requests: Sequence[Request], asking: Asking) -> Iterator[_Prepared]:
    """Requests with their bytes; the first one comes when all are made that fit together."""
    ready: deque[_Prepared] = deque()
    held = 0
    for number, request in enumerate(requests):
        content = asking.request(request)
        ready.append((number, request, content))
        held += len(content)
        while held > PREPARED_BYTES:
            done = ready.popleft()
            held -= len(done[2])
            yield done
    while ready:
        yield ready.popleft()


async def _beat(lags: list[float]) -> None:
    while True:
        due = time.monotonic() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        lags.append(time.monotonic() - due)


class _Client:
    def __init__(self, asking: Asking, start: float, count: int) -> None:
        self._asking, self._start = asking, start
        self._records: list[Record | None] = [None] * count

    def found(self) -> tuple[Record, ...]:
        """In the order of the load."""
        return tuple(each for each in self._records if each is not None)

    async def open_loop(self, ready: Iterator[_Prepared]) -> None:
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            for number, request, content in ready:
                # Also 0: answers are read even where requests come due faster than they are sent.
                await asyncio.sleep(max(0.0, request.at - self._now()))
                if len(under_way) >= MOST_UNDER_WAY:
                    now, reason = self._now(), f"{MOST_UNDER_WAY} requests were under way"
                    self._records[number] = Record(
                        request.at,
                        now,
                        now,
                        request.output_tokens,
                        failure=Failure.NOT_SENT,
                        reason=reason,
                    )
                    continue
                task = group.create_task(self._one(number, request, content, request.at))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    async def closed_loop(self, ready: Iterator[_Prepared], concurrency: int) -> None:
        async def place() -> None:
            for number, request, content in ready:
                await self._one(number, request, content, self._now())

        await asyncio.sleep(-self._now())
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(place())

    def _now(self) -> float:
        return time.monotonic() - self._start

    async def _one(self, number: int, request: Request, content: bytes, due: float) -> None:
        answer = Answer(request.output_tokens)
        begun, failure, reason = self._now(), "", ""
        try:
            made = await exchange(self._asking.target, content, answer, self._asking.patience)
            failure, reason = self._fault(request, answer, made.status, made.body)
        except TimeoutError:
            failure, reason = Failure.TIMEOUT, f"no end after {self._asking.patience:g} s"
        except OSError as error:
            failure, reason = Failure.CONNECTION, f"{type(error).__name__}: {error}"
        except StreamError as error:
            failure, reason = Failure.STREAM, str(error)
        for index in range(len(answer.times)):
            answer.times[index] -= self._start
        self._records[number] = Record(
            due,
            begun,
            self._now(),
            request.output_tokens,
            answer.prompt_tokens or request.prompt_tokens,
            answer.num_tokens,
            answer.times,
            answer.counts,
            answer.digest,
            failure,
            reason[:200],
        )

    def _fault(self, request: Request, answer: Answer, status: int, said: bytes) -> tuple[str, str]:
        """What is wrong with an answer that has ended."""
        if status != 200:
            return f"{Failure.REFUSED} {status}", said.decode("utf-8", "replace")
        if not answer.done and not answer.finish_reason:
            return Failure.CUT_OFF, f"the stream ended after {answer.num_tokens} tokens"
        if self._asking.dialect.exact and answer.num_tokens != request.output_tokens:
            return Failure.LENGTH, f"{answer.num_tokens} tokens, not {request.output_tokens}"
        return "", ""
