"""The serving process: signals, drain, and the end when the engine fails."""

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from plimsoll_runtime.server.admin import create_admin_app
from plimsoll_runtime.server.certificate import Certificate
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.http_protocol import BoundedHttpProtocol

logger = logging.getLogger(__name__)

BACKLOG = 2048
POLL = 0.05
IDLE_BEFORE_CLOSE = 0.3
"""Seconds without a request after which a draining server closes its listener."""
LISTEN_WHILE_DRAINING = 5.0
"""Seconds that the listener stays open at most: until then other nodes learn that we drain."""
LAST_REQUESTS = 5.0
"""Seconds that a connection from before the listener closed may take to bring its first request."""
HANDSHAKE = 1.0
"""Seconds that a connection from before the listener closed may take for TLS."""
FLUSH = 2.0
"""Seconds for last bytes after the last answers have ended."""
ENGINE_STOP = 5.0

EXIT_FAILED = 1


class AdminServer(uvicorn.Server):
    """The admin port, on the same event loop; ends when the API's server does."""

    def __init__(self, context: Context) -> None:
        super().__init__(
            uvicorn.Config(
                create_admin_app(context),
                http=BoundedHttpProtocol,
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the API's server's."""
        yield


class ServerProcess(uvicorn.Server):
    """uvicorn with an orderly end.

    SIGTERM or SIGINT: readiness goes off, the listener closes when nothing runs or after
    LISTEN_WHILE_DRAINING, running requests have until `shutdown_timeout`, then get an error. A
    second signal ends at once. When the engine fails, `exit_code` becomes 1.
    """

    def __init__(
        self,
        app: FastAPI,
        on_ready: Callable[[], None] = lambda: None,
        admin_listener: socket.socket | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=BoundedHttpProtocol,
                ws="none",
                backlog=BACKLOG,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
            )
        )
        if certificate is not None:
            self.config.load()
            self.config.ssl = certificate.context
        context = app.state.context
        if not isinstance(context, Context):
            raise TypeError("the app was not made by create_app")
        self._context = context
        self._on_ready = on_ready
        self._drain_task: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._admin_listener = admin_listener
        self._admin: AdminServer | None = None
        self._certificate = certificate
        self.exit_code = 0

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Replaces uvicorn's handlers, which would end the process by the signal itself."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then watches for signals and the engine."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self._context.engine.attach(loop)
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.begin_drain)
        self._watch_task = asyncio.ensure_future(self._watch_engine())
        self._work_task = asyncio.ensure_future(self._context.work.keep(self._num_steps))
        if self._certificate is not None:
            self._certificate_task = asyncio.ensure_future(self._certificate.keep())
        if self._admin_listener is not None:
            self._admin = AdminServer(self._context)
            self._admin_task = asyncio.ensure_future(self._admin.serve([self._admin_listener]))
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the listener and waits for running requests until the deadline."""
        if self._deadline is None:
            self._deadline = time.monotonic() + FLUSH
        if not self.force_exit:
            await self._close_listeners(sockets or [])
            await self._serve_last_requests(self._deadline)
        left = max(0.0, self._deadline - time.monotonic())
        self.config.timeout_graceful_shutdown = left + FLUSH  # type: ignore[assignment]
        last_word = asyncio.get_running_loop().call_later(
            left,
            self._context.client.end_all,
            "the server stopped before the answer was complete; send the request again",
        )
        await super().shutdown(sockets)
        last_word.cancel()
        self._watch_task.cancel()
        self._work_task.cancel()
        if self._certificate is not None:
            self._certificate_task.cancel()
        if self._admin is not None:
            self._admin.should_exit = True
            await self._admin_task

    def begin_drain(self) -> None:
        """Starts the drain; called again, ends at once."""
        if self._drain_task is not None:
            self.should_exit = True
            self.force_exit = True
            return
        timeout = self._context.settings.shutdown_timeout
        logger.warning("draining: running requests have %g s", timeout)
        self._context.lifecycle.ending = True
        self._deadline = self._context.lifecycle.deadline = time.monotonic() + timeout
        self._drain_task = asyncio.ensure_future(self._drain(self._deadline))

    async def _close_listeners(self, sockets: Sequence[socket.socket]) -> None:
        """Takes in who has connected already: the kernel would reset what the listener leaves."""
        accepted = []
        for each in sockets:
            with suppress(OSError):
                while True:
                    accepted.append(each.accept()[0])
        for server in self.servers:
            server.close()
        await asyncio.gather(*map(self._take_in, accepted))
        if self._certificate is not None:
            # Who is in a handshake is not among the connections yet.
            await asyncio.sleep(IDLE_BEFORE_CLOSE)

    async def _take_in(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003
        tls = self.config.ssl
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE,
            )

    def _make_protocol(self) -> BoundedHttpProtocol:
        return BoundedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _serve_last_requests(self, deadline: float) -> None:
        """Waits for what is on its way on connections that are open.

        Closing one in which a request lies unread would fail that request.
        """
        connections = self.server_state.connections
        start = time.monotonic()
        while connections and not self.force_exit:
            waited = time.monotonic() - start
            begun = any(
                isinstance(each, BoundedHttpProtocol) and each.in_head for each in connections
            )
            longest = LAST_REQUESTS if begun else IDLE_BEFORE_CLOSE
            if waited >= min(longest, deadline - start):
                return
            await asyncio.sleep(POLL)

    async def _drain(self, deadline: float) -> None:
        close_at = min(deadline, time.monotonic() + LISTEN_WHILE_DRAINING)
        idle_since = time.monotonic()
        while time.monotonic() < close_at:
            if self._context.lifecycle.active:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= IDLE_BEFORE_CLOSE:
                break
            await asyncio.sleep(POLL)
        self.should_exit = True

    def _num_steps(self) -> int:
        return self._context.engine.stats().num_steps

    async def _watch_engine(self) -> None:
        while self._context.engine.failed is None:  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(POLL)
        logger.error("the engine has failed; the process ends: %s", self._context.engine.failed)
        self.exit_code = EXIT_FAILED
        await asyncio.sleep(FLUSH)
        self.should_exit = True


def serve(
    app: FastAPI,
    listener: socket.socket,
    on_ready: Callable[[], None],
    admin_listener: socket.socket | None = None,
    certificate: Certificate | None = None,
) -> int:
    """Serves until told to stop, then stops the engine. Returns the exit code."""
    process = ServerProcess(app, on_ready, admin_listener, certificate)
    process.run([listener])
    engine = app.state.context.engine
    stopper = threading.Thread(target=engine.stop, name="plimsoll-stop", daemon=True)
    stopper.start()
    stopper.join(ENGINE_STOP)
    if stopper.is_alive():
        logger.warning("the engine is still in a step; leaving it")
    return process.exit_code
