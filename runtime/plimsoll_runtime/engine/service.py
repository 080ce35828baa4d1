"""The engine's process: `python -m plimsoll_runtime.engine.service SOCKET`, started by the server.

The first message says what to load. Then one thread reads messages, one runs the steps; all that
a step brings goes out in one message.
"""

import faulthandler
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from plimsoll_runtime.core.request import FinishReason, RequestOutput
from plimsoll_runtime.engine import garbage
from plimsoll_runtime.engine.channel import Channel
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.lifeline import die_with_parent, ignore_terminal_signals, peer_gone
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
    decode_to_engine,
    request_id_of,
)

logger = logging.getLogger(__name__)

UNSENDABLE = "internal error: the answer cannot be passed on; the request can be sent again"

POLL = 0.1
"""Seconds between two looks at whether the engine has failed."""
END_SECONDS = 1.0
"""How long a failed engine may take to end its ranks and to tidy up."""

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class Service:
    """Between a channel and an engine that has not been started yet."""

    def __init__(self, channel: Channel, engine: Engine) -> None:
        self._channel = channel
        self._engine = engine
        self._outputs: list[RequestOutput] = []
        self._num_submitted = 0
        self._num_steps_told = 0
        self._told = engine.queue, 0
        engine.on_step = self.flush

    def handle(self, payload: bytes) -> None:
        """Does what a message asks for. A request that is wrong ends alone.

        Raises MessageError for what concerns no request.
        """
        try:
            message = decode_to_engine(payload)
        except MessageError as error:
            request_id = request_id_of(payload)
            if request_id is None:
                raise
            self._num_submitted += 1
            self._refuse(request_id, str(error))
            return
        match message:
            case Submit(request):
                try:
                    self._engine.submit(request, self._outputs.append)
                except ValueError as error:
                    self._refuse(request.request_id, str(error), refused=True)
                except EngineFailedError as error:
                    self._refuse(request.request_id, str(error))
                self._num_submitted += 1
            case Abort(request_id):
                self._engine.abort(request_id)
            case SetLimits(limits):
                try:
                    self._engine.set_limits(limits)
                except (ValueError, EngineFailedError):
                    logger.exception("the server sent limits that cannot be")
            case Stop():
                self._engine.stop()
            case Load():
                raise MessageError("a second Load: an engine has one model")

    def listen(self) -> None:
        """Handles messages until the server closes its end. Raises as `handle` and `receive`."""
        while (payload := self._channel.receive()) is not None:
            self.handle(payload)

    def flush(self) -> None:
        """Sends what the step brought, and the figures. Runs on the engine's thread."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        num_submitted = self._num_submitted  # before the figures, which must know of all of these
        told = self._engine.queue, num_submitted
        if not outputs and told == self._told:
            return
        self._told = told
        stats = self._engine.stats(after=self._num_steps_told)
        self._num_steps_told = stats.num_steps
        try:
            self._send(Outputs(outputs, stats, num_submitted))
        except ValueError:
            # A value that no message can carry, or too much for one: find whose it is.
            for output in outputs:
                self._send_alone(output)
            self._send(Outputs([], stats, num_submitted))

    def _send_alone(self, output: RequestOutput) -> None:
        try:
            self._send(Outputs([output]))
        except ValueError:
            logger.exception("the output of request %s cannot be sent", output.request_id)
            self._engine.abort(output.request_id)
            self._refuse(output.request_id, UNSENDABLE)

    def _refuse(self, request_id: str, error: str, *, refused: bool = False) -> None:
        ended = RequestOutput(request_id, (), FinishReason.ERROR, error, refused=refused)
        self._send(Outputs([ended]))

    def _send(self, message: FromEngine) -> None:
        # The server may be gone; then so is this process, as soon as `listen` sees it.
        with suppress(OSError):
            self._channel.send(message)


def serve(sock: socket.socket, make_engine: Callable[[Load], Engine]) -> int:
    """Runs an engine for the server at the other end of `sock`. Returns the exit code.

    Whatever `make_engine` raises is told to the server, ValueError and FileNotFoundError as the
    fault of what it was given. Ends the process when the server is gone.
    """
    channel = Channel(sock)
    payload = channel.receive()
    if payload is None:
        return EXIT_FAILED
    load = decode_to_engine(payload)
    if not isinstance(load, Load):
        raise MessageError(f"{type(load).__name__} came before Load")
    try:
        engine = make_engine(load)
        service = Service(channel, engine)
        path = engine.attention_path
        channel.send(Loaded(engine.limits, engine.model_config, engine.stats(), path))
        threading.Thread(
            target=_listen, args=(service,), name="plimsoll-listen", daemon=True
        ).start()
        engine.start()
        channel.send(Ready())
    except (ValueError, FileNotFoundError) as error:
        channel.send(Failed(str(error), bad_input=True))
        return EXIT_BAD_INPUT
    except EngineFailedError as error:
        channel.send(Failed(str(error)))
        engine.join(END_SECONDS)
        return EXIT_FAILED
    except Exception as error:
        logger.exception("the engine cannot be made")
        channel.send(Failed(f"{type(error).__name__}: {error}"))
        return EXIT_FAILED
    # A step that hangs may keep the loop from ending, though the engine has failed.
    while not engine.join(POLL) and engine.failed is None:
        pass
    if engine.failed is None:
        return 0
    channel.send(Failed(f"{type(engine.failed).__name__}: {engine.failed}"))
    engine.join(END_SECONDS)
    return EXIT_FAILED


def _listen(service: Service) -> None:
    """The end of the server, or a message that makes no sense, is the end of the process."""
    try:
        service.listen()
    except Exception:
        logger.exception("the server cannot be understood; the engine ends")
    finally:
        _exit(EXIT_FAILED)


def _exit(code: int) -> NoReturn:
    """Ends at once: nothing is to be cleaned up, and threads may be stuck in a step."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _load_alone(load: Load) -> Engine:
    """In a process that only `_exit` ends: at an end as usual, libraries still read their data."""
    garbage.share_one_heap()
    garbage.defer()
    from plimsoll_runtime.engine.loader import choose_device
    from plimsoll_runtime.kernels.library_pages import CUDA_TABLES, give_back_data

    if choose_device(load.options.device).type == "cpu":
        give_back_data(CUDA_TABLES)
    return _load(load)


def _load(load: Load) -> Engine:
    garbage.defer()
    from plimsoll_runtime.engine.loader import load_engine
    from plimsoll_runtime.kernels.library_pages import give_back_libraries

    engine = load_engine(Path(load.model_dir), load.options)
    garbage.settle()
    garbage.trim()
    give_back_libraries()  # the cache is not taken yet: until then memory is far from its peak
    return engine


def main(argv: list[str], make_engine: Callable[[Load], Engine] = _load_alone) -> NoReturn:
    """Serves on the socket whose number is the last argument, then ends the process."""
    sock = socket.socket(fileno=int(argv[-1]))
    sock.set_inheritable(False)  # programs that the engine starts must not hold it
    ignore_terminal_signals()
    die_with_parent()
    if peer_gone(sock):
        _exit(EXIT_FAILED)
    faulthandler.enable()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        _exit(serve(sock, make_engine))
    except OSError:
        _exit(EXIT_FAILED)  # the server is gone


if __name__ == "__main__":
    main(sys.argv)
