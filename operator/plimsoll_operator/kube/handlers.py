"""Watches, by kopf, which is used for nothing else.

kopf finds the API server, signs in, lists and watches; what it is told goes straight into the
manager (`watches`), which stores it and wakes the queue. Nothing here makes kopf add a finalizer
(timers, daemons and handlers of deletion would).
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import kopf

from plimsoll_operator import metrics
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import WATCHED, Kind
from plimsoll_operator.kube.watches import adapt
from plimsoll_operator.manager import Manager

logger = logging.getLogger(__name__)

INACTIVITY_SECONDS = 70
SERVER_SECONDS = 120
CLIENT_SECONDS = 150
REQUEST_SECONDS = 10
BACKOFF_SECONDS = (1, 1, 2, 3, 5)
LAST_BACKOFF_SECONDS = 10


class Backoffs:
    """Delays in seconds between the attempts of a request of kopf's, without end.

    After its own last one kopf would end the process, and an API server that is away for two
    minutes would cost as much again until the kubelet starts the next.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(BACKOFF_SECONDS, itertools.repeat(LAST_BACKOFF_SECONDS))


def kopf_settings() -> kopf.OperatorSettings:
    """kopf without posting and scanning, and with watches that cannot go deaf."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.inactivity_timeout = INACTIVITY_SECONDS
    settings.watching.server_timeout = SERVER_SECONDS
    settings.watching.client_timeout = CLIENT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = Backoffs()
    for kind in WATCHED:
        if kind.selector:
            resource = (kind.group, kind.version, kind.plural)
            settings.watching.label_selectors[resource] = kind.selector
    return settings


def registry(manager: Manager, stop: asyncio.Event) -> kopf.OperatorRegistry:
    """Handlers that start and stop `manager`, and name what is watched. They set `stop` when kopf
    ends by itself, else it would wait for five seconds for its own task that waits for that."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        account = kopf.login_with_service_account(**kwargs)
        return account or kopf.login_via_client(**kwargs)

    @kopf.on.startup(registry=handlers)
    async def start(**_: Any) -> None:
        try:
            await manager.start()
        except ClusterError as error:
            stop.set()
            # Better that the pod restarts and says so than that it waits and looks healthy.
            raise kopf.PermanentError(f"the cluster cannot be read: {error}") from error

    @kopf.on.cleanup(registry=handlers)
    async def end(**_: Any) -> None:
        stop.set()
        await manager.stop()

    for kind in WATCHED:
        # kopf watches what has a handler; the events themselves never get that far (`watches`).
        kopf.on.event(kind.group, kind.version, kind.plural, registry=handlers, id=kind.plural)(
            _nothing
        )
    return handlers


async def _nothing(**_: Any) -> None:
    """Does nothing."""


async def serve(manager: Manager, namespaces: tuple[str, ...]) -> bool:
    """Watches until the process is told to stop. Returns False where something failed instead."""
    stop = asyncio.Event()

    def listed(
        kind: Kind, items: Iterable[Mapping[str, Any]], version: str, namespace: str | None
    ) -> None:
        metrics.LAST_EVENT.set(time.time())
        manager.listed(kind, items, version, namespace)

    def seen(kind: Kind, item: Mapping[str, Any], gone: bool) -> None:
        metrics.WATCH_EVENTS.labels(kind=kind.name).inc()
        metrics.LAST_EVENT.set(time.time())
        manager.see(kind.name, item, gone=gone)

    adapt(listed, seen)
    watching = asyncio.create_task(
        kopf.operator(
            registry=registry(manager, stop),
            settings=kopf_settings(),
            standalone=True,
            # Else kopf asks for the name of the user, which the image's numeric one has not.
            identity=cast("Any", "plimsoll"),
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
    )
    failing = asyncio.create_task(manager.failed())
    await asyncio.wait((watching, failing), return_when=asyncio.FIRST_COMPLETED)
    failed = failing.done()
    failing.cancel()
    stop.set()
    try:
        await watching
    except Exception as error:
        # kopf wraps what the start of ours raised, and keeps the wrapper to itself.
        outcomes = getattr(error, "outcomes", {})
        causes = [str(outcome.exception) for outcome in outcomes.values()] or [repr(error)]
        logger.error("cannot go on", extra={"error": "; ".join(causes)})  # noqa: TRY400
        failed = True
    return not failed
