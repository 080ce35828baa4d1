"""`plimsoll serve MODEL`."""

import argparse
import logging
import math
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from plimsoll_runtime.core.admission import AdmissionRules
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.cuda_graphs import CudaGraphs
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.engine import garbage
from plimsoll_runtime.engine.child import EXIT_SECONDS, EngineInputError, EngineProcess
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.messages import Load, Loaded
from plimsoll_runtime.engine.options import DEVICES, DTYPES, EngineOptions
from plimsoll_runtime.engine.remote import RemoteEngine
from plimsoll_runtime.kernels.library_pages import give_back_libraries
from plimsoll_runtime.server.api_keys import ApiKeys
from plimsoll_runtime.server.certificate import Certificate
from plimsoll_runtime.server.model_source import ModelSource, resolve_model
from plimsoll_runtime.server.pooling_config import read_pooling
from plimsoll_runtime.server.settings import DEFAULT_MAX_QUEUE_LEN, ServerSettings
from plimsoll_runtime.server.speculative_config import read_speculative_config, with_draft_folder
from plimsoll_runtime.server.tool_calls.formats import FORMATS

if TYPE_CHECKING:
    from plimsoll_runtime.server.tokenizer import Tokenizer

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
MAX_PORT = 65535
API_KEY_VARIABLE = "PLIMSOLL_API_KEY"


class Listeners(NamedTuple):
    """The port of the API, with its certificate where it speaks TLS, and the admin port if any."""

    api: socket.socket
    admin: socket.socket | None = None
    certificate: Certificate | None = None


class BadInputError(Exception):
    """The command line asks for what cannot be; one line, for stderr."""


def parser() -> argparse.ArgumentParser:
    """The options, with vLLM's names."""
    result = argparse.ArgumentParser(
        prog="plimsoll serve",
        description="Serves a model over an OpenAI-compatible API.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("model", metavar="MODEL", help="a folder, builtin://NAME or hf://ORG/NAME")
    add("--revision", help="branch, tag or commit of an hf:// model")
    add("--served-model-name", nargs="+", metavar="NAME", help="names that clients ask for")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s); 0.0.0.0 for all")
    add("--port", type=int, default=8000, help="port to listen on, 0 for any (%(default)s)")
    add("--api-key", help=f"key that clients must send (or {API_KEY_VARIABLE} in the environment)")
    add("--api-key-file", type=Path, metavar="FILE", help="keys of tenants, a line NAME:KEY each")
    add("--ssl-certfile", type=Path, metavar="FILE", help="certificate chain in PEM, for HTTPS")
    add("--ssl-keyfile", type=Path, metavar="FILE", help="its key, if in another file")
    add(
        "--admin-host",
        default="127.0.0.1",
        help="address of the admin port (%(default)s)",
    )
    add("--admin-port", type=int, metavar="PORT", help="port for live limits; none without")
    add(
        "--admin-trust-file",
        type=Path,
        metavar="FILE",
        help="JSON that says whose token opens the admin port; without, whoever reaches it may",
    )
    add("--dtype", choices=DTYPES, default="auto", help="type of weights and KV cache")
    add(
        "--quantization",
        type=Quantization,
        choices=list(Quantization),
        default=Quantization.NONE,
        help="what the layers' weights are made when they are loaded, on CPU: int8 with activations"
        " in int8, or int8-weight-only (%(default)s)",
    )
    add(
        "--kv-cache-dtype",
        type=KVCacheDtype,
        choices=list(KVCacheDtype),
        default=KVCacheDtype.AUTO,
        help="type of the KV cache, if another than of the weights; int8 is for CPU (%(default)s)",
    )
    add("--device", choices=DEVICES, default="auto", help="where the model runs")
    add("--max-model-len", type=int, metavar="N", help="most tokens of prompt and answer together")
    add("--max-num-seqs", type=int, metavar="N", help="most sequences in a step")
    add("--max-num-batched-tokens", type=int, metavar="N", help="most tokens in a step")
    add(
        "--long-prefill-token-threshold",
        type=int,
        metavar="N",
        help="most tokens of one prompt in a step while others wait (half of a step's)",
    )
    add(
        "--enable-prefix-caching",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what was computed, for prompts that begin alike",
    )
    add(
        "--scheduling-policy",
        type=SchedulingPolicy,
        choices=list(SchedulingPolicy),
        default=SchedulingPolicy.FAIR,
        help="who is served first: tenants by turns, by priority, or by arrival (%(default)s)",
    )
    add(
        "--tenant-weight",
        action="append",
        type=_weight,
        default=[],
        metavar="NAME=WEIGHT",
        help="a tenant's share; 1 without",
    )
    add(
        "--max-queue-len",
        type=int,
        default=DEFAULT_MAX_QUEUE_LEN,
        metavar="N",
        help="most sequences that wait; more get 429 (%(default)s)",
    )
    add(
        "--max-queue-wait",
        type=float,
        metavar="SECONDS",
        help="longest wait; requests for which a longer one is predicted get 429",
    )
    add("--kv-cache-memory-bytes", type=int, metavar="N", help="size of the KV cache")
    add("--block-size", type=int, default=16, metavar="N", help="tokens in a KV cache block")
    add(
        "--gpu-memory-utilization",
        type=float,
        default=0.9,
        metavar="F",
        help="share of the GPU's memory to use (%(default)s)",
    )
    add("--tensor-parallel-size", type=int, default=1, metavar="N", help="GPUs in one replica")
    add(
        "--speculative-config",
        type=_speculative_config,
        metavar="JSON",
        help='who drafts tokens ahead, such as {"method": "ngram", "num_speculative_tokens": 4}',
    )
    add("--seed", type=int, default=0, help="seed of requests that bring none (%(default)s)")
    add(
        "--shutdown-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long running requests may go on after SIGTERM (%(default)g)",
    )
    add(
        "--tool-call-parser",
        choices=sorted(FORMATS),
        help="how the model writes tool calls (what its chat template shows)",
    )
    add("--threads", type=int, metavar="N", help="CPU threads of the model")
    add(
        "--attention-backend",
        type=AttentionBackend,
        choices=list(AttentionBackend),
        default=AttentionBackend.AUTO,
        help="C++ kernels for CPU, a Triton kernel for GPUs, plain torch, or what is best known to "
        "work (%(default)s)",
    )
    add(
        "--cuda-graphs",
        type=CudaGraphs,
        choices=list(CudaGraphs),
        default=CudaGraphs.AUTO,
        help="decode steps in one launch each, with the Triton kernel (%(default)s)",
    )
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
    options = _engine_options(arguments)
    with ExitStack() as stack:
        listeners = Listeners(stack.enter_context(_listen(arguments.host, arguments.port)))
        if arguments.admin_port is not None:
            admin = _listen(arguments.admin_host, arguments.admin_port, "--admin-port")
            listeners = listeners._replace(admin=stack.enter_context(admin))
        listeners = listeners._replace(certificate=_certificate(arguments))
        source, settings = _model(arguments)
        _say(f"loading {_weights_megabytes(source.folder)} MB of weights from {source.root}")
        process = EngineProcess(Load(str(source.folder), options))
        try:
            return _serve_engine(process, listeners, settings, source.folder, started)
        finally:
            process.kill()
            process.wait(EXIT_SECONDS)
            process.channel.socket.close()


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
        url = _url(listeners.api, "http" if listeners.certificate is None else "https")
        _say(f"serving {settings.name} on {url} (ready in {seconds:.1f} s)")
        if listeners.admin is not None:
            _say(f"admin port on {_url(listeners.admin)}")

    app = create_app(engine, tokenizer, settings)
    return serve(app, listeners.api, ready, listeners.admin, listeners.certificate)


def _model(arguments: argparse.Namespace) -> tuple[ModelSource, ServerSettings]:
    try:
        if arguments.api_key_file is not None:
            ApiKeys(file=arguments.api_key_file)
        source = resolve_model(arguments.model, arguments.revision)
        settings = ServerSettings(
            served_names=tuple(arguments.served_model_name or [source.name]),
            root=source.root,
            api_key=arguments.api_key or os.environ.get(API_KEY_VARIABLE) or None,
            shutdown_timeout=arguments.shutdown_timeout,
            api_key_file=arguments.api_key_file,
            admission=_admission_rules(arguments),
            tool_call_parser=arguments.tool_call_parser,
            pooling=read_pooling(source.folder),
            admin_trust_file=arguments.admin_trust_file,
        )
    except ValueError as error:
        raise BadInputError(str(error)) from error
    return source, settings


def _tokenizer(folder: Path) -> "Tokenizer":
    from plimsoll_runtime.server.tokenizer import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    garbage.trim()  # reading it takes nearly twice the memory that stays
    return tokenizer


def _certificate(arguments: argparse.Namespace) -> Certificate | None:
    if arguments.ssl_certfile is None:
        if arguments.ssl_keyfile is not None:
            raise BadInputError("--ssl-keyfile needs --ssl-certfile, the certificate of that key")
        return None
    try:
        return Certificate(arguments.ssl_certfile, arguments.ssl_keyfile)
    except ValueError as error:
        raise BadInputError(str(error)) from error


def _engine_options(arguments: argparse.Namespace) -> EngineOptions:
    if not 0 <= arguments.shutdown_timeout < float("inf"):
        raise BadInputError(
            f"--shutdown-timeout must be at least 0, not {arguments.shutdown_timeout}"
        )
    try:
        return EngineOptions(
            dtype=arguments.dtype,
            quantization=arguments.quantization,
            device=arguments.device,
            max_model_len=arguments.max_model_len,
            max_num_seqs=arguments.max_num_seqs,
            max_num_batched_tokens=arguments.max_num_batched_tokens,
            long_prefill_token_threshold=arguments.long_prefill_token_threshold,
            enable_prefix_caching=arguments.enable_prefix_caching,
            kv_cache_memory_bytes=arguments.kv_cache_memory_bytes,
            kv_cache_dtype=arguments.kv_cache_dtype,
            block_size=arguments.block_size,
            gpu_memory_utilization=arguments.gpu_memory_utilization,
            tensor_parallel_size=arguments.tensor_parallel_size,
            seed=arguments.seed,
            threads=arguments.threads,
            attention_backend=arguments.attention_backend,
            cuda_graphs=arguments.cuda_graphs,
            scheduling_policy=arguments.scheduling_policy,
            tenant_weights=dict(arguments.tenant_weight),
            speculative_config=with_draft_folder(arguments.speculative_config),
        )
    except ValueError as error:
        raise BadInputError(str(error)) from error


def _admission_rules(arguments: argparse.Namespace) -> AdmissionRules:
    return AdmissionRules(
        max_queue_len=arguments.max_queue_len,
        max_queue_wait=arguments.max_queue_wait,
        policy=arguments.scheduling_policy,
        tenant_weights=dict(arguments.tenant_weight),
    )


def _speculative_config(text: str) -> SpeculativeConfig:
    try:
        return read_speculative_config(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _weight(text: str) -> tuple[str, float]:
    name, _, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not name or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=WEIGHT with a weight above 0")
    return name, value


def _listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Takes the port before the model is loaded; connections are refused until it serves."""
    listener: socket.socket | None = None
    if not 0 <= port <= MAX_PORT:
        raise BadInputError(f"{option} must be 0 to {MAX_PORT}, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        reason = error.strerror or str(error)
        raise BadInputError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


def _weights_megabytes(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return f"{size / 1e6:.0f}" if size >= 10e6 else f"{size / 1e6:.1f}"


def _url(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _say(text: str) -> None:
    print(f"plimsoll: {text}", flush=True)
