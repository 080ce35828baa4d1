"""Starts the engine's process, and tells what became of it. Runs in the server; no torch here."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from plimsoll_runtime.engine.channel import Channel
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.frames import FrameError
from plimsoll_runtime.engine.messages import (
    Failed,
    Load,
    Loaded,
    MessageError,
    Ready,
    decode_from_engine,
)

SERVICE = (sys.executable, "-P", "-m", "plimsoll_runtime.engine.service")
EXIT_SECONDS = 1.0
"""How long after its socket's end a process may take to be gone."""

T = TypeVar("T", Loaded, Ready)


class EngineInputError(ValueError):
    """The engine cannot be made from what it was given; the message is for the user."""


def engine_environment() -> dict[str, str]:
    """This process' environment, for one that computes.

    torch's threads must not spin after each of its operations: the kernels have threads of their
    own, which want the cores. Whoever sets OMP_WAIT_POLICY keeps their setting.
    """
    # With -P: the modules that we have, and none that lie in the current folder.
    path = os.pathsep.join(filter(None, sys.path))
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": path}


class EngineProcess:
    """A process that runs `service.serve`; the last argument of `command` is its socket.

    The socket is one of a connected pair without a name: nobody else can connect to it, and nothing
    is written to disk. The process is killed when the thread that started it ends, so start it from
    the main thread. It has a session of its own: a Ctrl-C in the terminal or a signal to the
    server's process group must not end it before the server has drained.
    """

    def __init__(self, load: Load, command: Sequence[str] = SERVICE) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=engine_environment(),
            )
        self.channel = Channel(ours)
        with suppress(OSError):  # `receive` tells what became of it
            self.channel.send(load)

    def receive(self, kind: type[T]) -> T:
        """Waits for the next message, which must be of that kind.

        Raises EngineInputError when the engine says that what it was given is wrong, and
        EngineFailedError when it fails otherwise or its process ends.
        """
        try:
            payload = self.channel.receive()
            message = None if payload is None else decode_from_engine(payload)
        except OSError:
            message = None  # the process ended without having read all that was sent
        except (FrameError, MessageError) as error:
            raise EngineFailedError(
                f"the engine's process cannot be understood: {error}"
            ) from error
        if isinstance(message, kind):
            return message
        if isinstance(message, Failed):
            raise (EngineInputError if message.bad_input else EngineFailedError)(message.error)
        if message is not None:
            raise EngineFailedError(
                f"the engine's process sent {type(message).__name__} instead of {kind.__name__}"
            )
        self.wait(EXIT_SECONDS)
        raise EngineFailedError(f"the engine's process {self.describe_end()}")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> bool:
        """Waits for the end; False when it has not come in time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Has the process ended without more ado; `wait` tells when it is gone.

        That may take a while, and for a process stuck in a driver for ever.
        """
        self._process.kill()

    def describe_end(self) -> str:
        """What became of it, as the rest of a sentence."""
        code = self._process.poll()
        if code is None:
            return "closed its socket"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{hint}"
