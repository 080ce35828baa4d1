"""The options of `plimsoll serve` that are the server's: where it listens, whom it answers."""

import argparse
import math
import os
from pathlib import Path

from plimsoll_runtime.core.admission import AdmissionRules
from plimsoll_runtime.server.api_keys import ApiKeys
from plimsoll_runtime.server.model_source import ModelSource
from plimsoll_runtime.server.pooling_config import read_pooling
from plimsoll_runtime.server.settings import DEFAULT_MAX_QUEUE_LEN, ServerSettings
from plimsoll_runtime.server.tool_calls.formats import FORMATS

API_KEY_VARIABLE = "PLIMSOLL_API_KEY"


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds them to `parser`, in a group of their own, with vLLM's names."""
    add = parser.add_argument_group("options of the server").add_argument
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


def check_server_options(arguments: argparse.Namespace) -> None:
    """Raises ValueError where they cannot be, whatever the model is."""
    if not 0 <= arguments.shutdown_timeout < math.inf:
        raise ValueError(f"--shutdown-timeout must be at least 0, not {arguments.shutdown_timeout}")
    if arguments.ssl_keyfile is not None and arguments.ssl_certfile is None:
        raise ValueError("--ssl-keyfile needs --ssl-certfile, the certificate of that key")
    if arguments.api_key_file is not None:
        ApiKeys(file=arguments.api_key_file)


def server_settings(arguments: argparse.Namespace, source: ModelSource) -> ServerSettings:
    """What the server of the model `source` needs to know. Raises ValueError."""
    return ServerSettings(
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


def _admission_rules(arguments: argparse.Namespace) -> AdmissionRules:
    return AdmissionRules(
        max_queue_len=arguments.max_queue_len,
        max_queue_wait=arguments.max_queue_wait,
        policy=arguments.scheduling_policy,
        tenant_weights=dict(arguments.tenant_weight),
    )
