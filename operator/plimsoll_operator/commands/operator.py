"""`plimsoll operator`: watches LLMDeployments and keeps what they declare running."""

import argparse
import asyncio
import os
import sys

from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.settings import Settings

DEFAULT_IMAGE = "docker.io/plimsoll/runtime:dev"


def main(argv: list[str]) -> int:
    """Runs until it is told to stop; 1 when it cannot go on."""
    settings, level = parse(argv, dict(os.environ))

    from plimsoll_operator import log
    from plimsoll_operator.kube import handlers
    from plimsoll_operator.manager import Manager

    log.configure(level)
    try:
        cluster = Cluster.connect(settings.connections)
    except ClusterError as error:
        print(f"plimsoll operator: {error}", file=sys.stderr)
        return 1

    async def serve() -> bool:
        return await handlers.serve(Manager(settings, cluster), settings.namespaces)

    return 0 if asyncio.run(serve()) else 1


def parse(argv: list[str], environment: dict[str, str]) -> tuple[Settings, str]:
    """Settings and log level from arguments; where one is absent, `PLIMSOLL_<OPTION>` counts."""

    def default(option: str, otherwise: str) -> str:
        return environment.get("PLIMSOLL_" + option.upper().replace("-", "_"), otherwise)

    parser = argparse.ArgumentParser(prog="plimsoll operator", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--namespace",
        action="append",
        default=None,
        metavar="NAME",
        help="serve this namespace; may be given several times",
    )
    where.add_argument(
        "--all-namespaces", action="store_true", help="serve the whole cluster (the default)"
    )
    parser.add_argument(
        "--runtime-image",
        default=default("runtime-image", DEFAULT_IMAGE),
        help="image of the engine's pods (%(default)s)",
    )
    parser.add_argument(
        "--image-pull-policy",
        choices=("Always", "IfNotPresent", "Never"),
        default=default("image-pull-policy", "IfNotPresent"),
    )
    parser.add_argument("--workers", type=_positive, default=default("workers", "12"))
    parser.add_argument(
        "--http-port",
        type=_positive,
        default=default("http-port", "8080"),
        help="port of /livez, /readyz and /metrics (%(default)s)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=default("log-level", "info"),
    )
    arguments = parser.parse_args(argv)
    settings = Settings(
        rendering=Rendering(arguments.runtime_image, arguments.image_pull_policy),
        namespaces=tuple(arguments.namespace or ()),
        workers=arguments.workers,
        connections=arguments.workers,
        http_port=arguments.http_port,
    )
    return settings, arguments.log_level


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return value
