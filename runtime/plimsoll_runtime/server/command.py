"""`plimsoll serve MODEL`."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from plimsoll_runtime.engine import garbage
from plimsoll_runtime.engine.child import EXIT_SECONDS, EngineInputError, EngineProcess
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.messages import Load, Loaded
from plimsoll_runtime.engine.remote import RemoteEngine
from plimsoll_runtime.kernels.library_pages import give_back_libraries
from plimsoll_runtime.server.certificate import Certificate
from plimsoll_runtime.server.engine_options import add_engine_options, engine_options
from plimsoll_runtime.server.listeners import Listeners, listen, url
from plimsoll_runtime.server.model_source import resolve_model
from plimsoll_runtime.server.server_options import (
    add_server_options,
    check_server_options,
    server_settings,
)
from plimsoll_runtime.server.settings import ServerSettings

if TYPE_CHECKING:
    from plimsoll_runtime.server.tokenizer import Tokenizer

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class BadInputError(Exception):
    """The command line asks for what cannot be; one line, for stderr."""


def parser() -> argparse.ArgumentParser:
    """The options, with vLLM's names."""
    result = argparse.ArgumentParser(
        prog="plimsoll serve",
        description="Serves a model over an OpenAI-compatible API.",
        allow_abbrev=False,
    )
    result.add_argument("model", metavar="MODEL", help="a folder, builtin://NAME or hf://ORG/NAME")
    add_server_options(result)
    add_engine_options(result)
    return result


def main(argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT. Exit code 0, 1 when the engine failed, 2 on bad input."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    # As process 1 of a container, the default action of SIGTERM is none at all.
    before = signal.signal(signal.SIGTERM, _exit_while_loading)
    try:
        return _serve(arguments)
    except BadInputError as error:
        print(f"plimsoll serve: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except EngineFailedError as error:
        print(f"plimsoll serve: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_while_loading(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise SystemExit(0)


def _serve(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    with _bad_input():
        check_server_options(arguments)
        options = engine_options(arguments)
    with ExitStack() as stack:
        with _bad_input():
            listeners = _listen(arguments, stack)
            source = resolve_model(arguments.model, arguments.revision)
            settings = server_settings(arguments, source)
        _say(f"loading {_weights_megabytes(source.folder)} MB of weights from {source.root}")
        process = EngineProcess(Load(str(source.folder), options))
        try:
            return _serve_engine(process, listeners, settings, source.folder, started)
        finally:
            process.kill()
            process.wait(EXIT_SECONDS)
            process.channel.socket.close()


@contextmanager
def _bad_input() -> Iterator[None]:
    """What is wrong with values within is the caller's to mend, not a fault of the program."""
    try:
        yield
    except ValueError as error:
        raise BadInputError(str(error)) from error


def _listen(arguments: argparse.Namespace, stack: ExitStack) -> Listeners:
    """Ports that `stack` closes."""
    api = stack.enter_context(listen(arguments.host, arguments.port))
    admin = None
    if arguments.admin_port is not None:
        admin = listen(arguments.admin_host, arguments.admin_port, "--admin-port")
        stack.enter_context(admin)
    if arguments.ssl_certfile is None:
        return Listeners(api, admin)
    return Listeners(api, admin, Certificate(arguments.ssl_certfile, arguments.ssl_keyfile))


def _serve_engine(
    process: EngineProcess,
    listeners: Listeners,
    settings: ServerSettings,
    folder: Path,
    started: float,
) -> int:
    # All of this takes a while, as the engine's process takes to load.
    tokenizer = _tokenizer(folder)
    from prometheus_client import disable_created_metrics

    from plimsoll_runtime.server.app import create_app
    from plimsoll_runtime.server.process import serve

    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        engine = RemoteEngine(process, process.receive(Loaded))
    except EngineInputError as error:
        raise BadInputError(str(error)) from error
    stats = engine.stats()
    _say(
        f"KV cache of {stats.num_blocks * stats.block_size} tokens "
        f"({stats.num_blocks} blocks of {stats.block_size})"
    )
    _say(f"attention: {engine.attention_path}")
    engine.start()

    def ready() -> None:
        garbage.settle()
        garbage.trim()
        give_back_libraries()
        seconds = time.monotonic() - started
        scheme = "http" if listeners.certificate is None else "https"
        _say(f"serving {settings.name} on {url(listeners.api, scheme)} (ready in {seconds:.1f} s)")
        if listeners.admin is not None:
            _say(f"admin port on {url(listeners.admin)}")

    app = create_app(engine, tokenizer, settings)
    return serve(app, listeners.api, ready, listeners.admin, listeners.certificate)


def _tokenizer(folder: Path) -> "Tokenizer":
    from plimsoll_runtime.server.tokenizer import load_tokenizer

    with _bad_input():
        tokenizer = load_tokenizer(folder)
    garbage.trim()  # reading it takes nearly twice the memory that stays
    return tokenizer


def _weights_megabytes(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return f"{size / 1e6:.0f}" if size >= 10e6 else f"{size / 1e6:.1f}"


def _say(text: str) -> None:
    print(f"plimsoll: {text}", flush=True)
