"""The engine as the server sees it when it runs in a process of its own. No torch here."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from plimsoll_runtime.core.checks import check_request
from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput
from plimsoll_runtime.engine.child import EXIT_SECONDS, EngineProcess
from plimsoll_runtime.engine.errors import ENGINE_FAILED, EngineFailedError
from plimsoll_runtime.engine.frames import FrameError
from plimsoll_runtime.engine.handle import OutputCallback
from plimsoll_runtime.engine.messages import (
    Abort,
    Failed,
    FromEngine,
    Loaded,
    MessageError,
    Outputs,
    Ready,
    SetLimits,
    Stop,
    Submit,
    decode_from_engine,
    encode,
)
from plimsoll_runtime.engine.stats import MAX_STEP_SAMPLES, EngineStats, StepSample

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.0
"""How long the engine may take to end after it was told to; a step cannot be interrupted."""


class RemoteEngine:
    """`Engine`'s surface for an engine in another process.

    It belongs to the loop that it is attached to; callbacks run there, those of a step in one
    turn. However the process ends, its socket does too: every unfinished request then gets the
    reason `error` at once, and `failed` is set.
    """

    def __init__(
        self,
        process: EngineProcess,
        loaded: Loaded,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = loaded.limits
        self.model_config = loaded.model_config
        self.attention_path = loaded.attention_path
        self._process = process
        self._channel = process.channel
        self._socket = process.channel.socket
        self._clock = clock
        self._stats = loaded.stats
        self._samples: deque[StepSample] = deque(maxlen=MAX_STEP_SAMPLES)
        self._callbacks: dict[str, OutputCallback] = {}
        # Requests and limits on their way, of which the engine's figures do not know yet.
        self._sent: deque[QueueCount] = deque()
        self._num_sent = 0
        self._new_limits: LiveLimits | None = None
        self._last_heard = clock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsent = bytearray()
        self._started = False
        self._stopping = False
        self._failed: EngineFailedError | None = None

    @property
    def failed(self) -> BaseException | None:
        """What ended the engine, if it failed."""
        if self._failed is None and not self._stopping and self._process.ended:
            while self._loop is not None and self._readable():
                pass
            # A process that the engine forked may hold the socket open after the engine's end.
            self._lost()
        return self._failed

    @property
    def ready(self) -> bool:
        """Whether the warm-up step has run and requests are served."""
        return self._started and self._failed is None and not self._stopping

    def start(self) -> None:
        """Waits until a warm-up step has run. Raises EngineFailedError when it fails."""
        self._process.receive(Ready)
        self._started = True

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on outputs are read on `loop`. Call it there, once, after `start`."""
        self._socket.setblocking(False)  # noqa: FBT003
        self._loop = loop
        loop.add_reader(self._socket, self._readable)
        self._handle_arrived()

    def submit(self, request: Request, on_output: OutputCallback) -> None:
        """Sends a request. What `Engine.submit` refuses is refused here, before it is sent.

        Raises ValueError for that, also when the request cannot be put into a message, and
        EngineFailedError when the engine has failed or stopped.
        """
        check_request(request, self.limits, self.model_config.vocab_size)
        if self._failed is not None or self._stopping:
            raise EngineFailedError(f"the engine takes no requests: {self._failed or 'stopped'}")
        if request.request_id in self._callbacks:
            raise ValueError(f"request id {request.request_id!r} is in use")
        data = encode(Submit(request))
        if not self._callbacks:
            self._last_heard = self._clock()
        self._callbacks[request.request_id] = on_output
        self._sent.append(QueueCount.of(request))
        self._num_sent += 1
        self._send(data)

    def abort(self, request_id: str) -> None:
        """Ends a request before the next step, with reason `abort`; any id."""
        if request_id in self._callbacks:
            self._send(encode(Abort(request_id)))

    def set_limits(self, live: LiveLimits) -> None:
        """Changes limits before the next step, dropping no request; see `Engine.set_limits`."""
        self.limits.check_live(live)
        if self._failed is not None or self._stopping:
            raise EngineFailedError(f"the engine has ended: {self._failed or 'stopped'}")
        self._new_limits = live
        self._send(encode(SetLimits(live)))

    def stats(self) -> EngineStats:
        """The engine's figures as of its last step, and the queue as it is now."""
        stalled = max(0.0, self._clock() - self._last_heard) if self._callbacks else 0.0
        waiting = self._stats.waiting + tuple(self._sent)
        return self._stats._replace(
            num_waiting=sum(each.num_requests for each in waiting),
            waiting=waiting,
            limits=self._new_limits or self._stats.limits,
            stalled_seconds=stalled,
            step_samples=tuple(self._samples),
        )

    def stop(self) -> None:
        """Ends the process, within STOP_SECONDS or by force. May be called twice.

        Not while the loop runs in another thread.
        """
        if self._stopping:
            return
        self._stopping = True
        self._detach()
        try:
            self._socket.settimeout(STOP_SECONDS)
            self._socket.sendall(bytes(self._unsent) + encode(Stop()))
        except OSError:
            pass  # it has ended already, or is stuck
        if not self._process.wait(STOP_SECONDS):
            logger.warning("the engine is still in a step; its process is killed")
            self._process.kill()
            self._process.wait(EXIT_SECONDS)
        self._socket.close()
        self._end_all(FinishReason.ABORT, None)

    def _send(self, data: bytes) -> None:
        """Sends now what the socket takes, the rest when it takes more."""
        sent = 0
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # the engine is gone; reading tells
        if sent < len(data):
            if not self._unsent and self._loop is not None:
                self._loop.add_writer(self._socket, self._writable)
            self._unsent += data[sent:]

    def _writable(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        if not self._unsent and self._loop is not None:
            self._loop.remove_writer(self._socket)

    def _readable(self) -> bool:
        """Reads once; False when there was nothing to read, or will not be again."""
        try:
            more = self._channel.read()
        except BlockingIOError:
            return False
        except FrameError as error:
            self._not_understood(error)
            return False
        except OSError:
            more = False
        if more:
            self._last_heard = self._clock()
            self._handle_arrived()
        else:
            self._lost()
        return more and self._failed is None

    def _handle_arrived(self) -> None:
        try:
            for payload in self._channel.arrived():
                self._handle(decode_from_engine(payload))
        except MessageError as error:
            self._not_understood(error)

    def _not_understood(self, error: Exception) -> None:
        self._process.kill()
        self._fail(f"the engine's process cannot be understood: {error}")

    def _handle(self, message: FromEngine) -> None:
        match message:
            case Outputs(outputs, stats, num_submitted):
                if stats is not None:
                    self._learn(stats, num_submitted)
                for output in outputs:
                    self._deliver(output)
            case Failed(error):
                self._fail(error)
            case _:
                raise MessageError(f"{type(message).__name__} was sent while requests are served")

    def _learn(self, stats: EngineStats, num_submitted: int) -> None:
        self._stats = stats
        self._samples.extend(stats.step_samples)
        unknown = max(0, self._num_sent - num_submitted)
        while len(self._sent) > unknown:
            self._sent.popleft()
        if stats.limits == self._new_limits:
            self._new_limits = None

    def _deliver(self, output: RequestOutput) -> None:
        """Calls the request's callback; if that raises, the request ends and no other suffers."""
        request_id = output.request_id
        callback = self._callbacks.get(request_id)
        if callback is None:
            return
        if output.finish_reason is not None:
            del self._callbacks[request_id]
        try:
            callback(output)
        except Exception:
            logger.exception("the callback of request %s failed", request_id)
            self.abort(request_id)
            self._callbacks.pop(request_id, None)

    def _lost(self) -> None:
        """The process is gone: clients first, then the cause, which the kernel tells later."""
        if self._failed is not None or self._stopping:
            return
        self._fail("the engine's process ended")
        if self._loop is not None:
            self._loop.call_later(EXIT_SECONDS, self._tell_cause)

    def _tell_cause(self) -> None:
        logger.error("the engine's process %s", self._process.describe_end())

    def _fail(self, reason: str) -> None:
        if self._failed is not None:
            return
        self._failed = EngineFailedError(reason)
        self._detach()
        self._sent.clear()
        self._end_all(FinishReason.ERROR, ENGINE_FAILED)

    def _detach(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def _end_all(self, reason: FinishReason, error: str | None) -> None:
        for request_id in list(self._callbacks):
            self._deliver(RequestOutput(request_id, (), reason, error))
