"""The way from a request's coroutine to the engine and back."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.server.admission import Admission
from plimsoll_runtime.server.errors import APIError, bad_request
from plimsoll_runtime.server.frontend_work import FrontendWork


class Arrival(NamedTuple):
    """An output and when the engine handed it over, in seconds of the monotonic clock."""

    output: RequestOutput
    time: float


class Ticket:
    """The unfinished sequences of one HTTP request. Belongs to the event loop's thread."""

    def __init__(self, request_ids: Sequence[str]) -> None:
        self.unfinished = set(request_ids)
        self._arrivals: list[Arrival] = []
        self._taker: asyncio.Future[None] | None = None

    def put(self, arrival: Arrival) -> None:
        """Adds an output; outputs of sequences that were dropped are ignored."""
        output, _ = arrival
        if output.request_id not in self.unfinished:
            return
        if output.finish_reason is not None:
            self.unfinished.discard(output.request_id)
        self._arrivals.append(arrival)
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    async def take(self) -> list[Arrival]:
        """Waits for outputs and returns all there are, oldest first. For one task."""
        if not self._arrivals:
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
        arrivals, self._arrivals = self._arrivals, []
        return arrivals


class EngineClient:
    """Submits and aborts from the event loop; outputs come back there, from whatever thread.

    Create it on the loop that serves. `time` is the clock of `Request.arrival_time`.
    """

    def __init__(
        self,
        engine: EngineHandle,
        clock: Callable[[], float] = time.monotonic,
        admission: Admission | None = None,
        work: FrontendWork | None = None,
    ) -> None:
        self.engine = engine
        self.work = work or FrontendWork()
        self.time = clock
        self._admission = admission
        self._tickets: dict[str, Ticket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._inbox: deque[Arrival] = deque()
        self._woken = False

    @property
    def num_unfinished(self) -> int:
        """Sequences submitted and not finished or dropped."""
        return len(self._tickets)

    def submit(self, requests: Sequence[Request], max_wait: float | None = None) -> Ticket:
        """Queues all of `requests` or none; `max_wait` is the client's objective in seconds.

        Raises APIError: 429 when too many wait or it would take too long, 400 when the engine
        cannot serve one of them, 503 when it has stopped or is about to.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        if self._admission is not None:
            self._admission.check(requests, len(self._tickets), max_wait)
        ticket = Ticket([request.request_id for request in requests])
        for request in requests:
            self._tickets[request.request_id] = ticket
            try:
                self.engine.submit(request, self._on_output)
            except (ValueError, EngineFailedError) as error:
                self.drop(ticket)
                if isinstance(error, ValueError):
                    raise bad_request(str(error)) from error
                raise APIError(503, "the engine has stopped and takes no requests") from error
            self.work.taken_in(request.num_tokens)
        return ticket

    def drop(self, ticket: Ticket, request_id: str | None = None) -> None:
        """Aborts one sequence, or all that are left; the engine frees their blocks."""
        for each in [request_id] if request_id is not None else list(ticket.unfinished):
            ticket.unfinished.discard(each)
            if self._tickets.pop(each, None) is not None:
                self.engine.abort(each)

    def end_all(self, message: str) -> None:
        """Ends every sequence with an error that says `message`."""
        for request_id, ticket in list(self._tickets.items()):
            self._tickets.pop(request_id, None)
            self.engine.abort(request_id)
            output = RequestOutput(request_id, (), FinishReason.ERROR, message)
            ticket.put(Arrival(output, self.time()))

    def _on_output(self, output: RequestOutput) -> None:
        arrival = Arrival(output, self.time())
        if threading.get_ident() == self._thread and not self._inbox:
            self._put(arrival)
            return
        # On the engine's thread. A step calls this once a sequence; waking the loop costs a system
        # call, so only the first of them does it.
        self._inbox.append(arrival)
        if not self._woken and self._loop is not None:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop has closed: nobody is left to tell
                self._inbox.clear()

    def _deliver(self) -> None:
        self._woken = False
        while self._inbox:
            self._put(self._inbox.popleft())

    def _put(self, arrival: Arrival) -> None:
        output, _ = arrival
        ticket = self._tickets.get(output.request_id)
        if ticket is not None:
            ticket.put(arrival)
        if output.finish_reason is not None:
            self._tickets.pop(output.request_id, None)
