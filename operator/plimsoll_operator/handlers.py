"""Watches, by kopf, which is used for nothing else.

Handlers only store what they see and wake the queue: they decide nothing, and nothing here makes
kopf add a finalizer (timers, daemons and handlers of deletion would).
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import kopf

from plimsoll_operator import metrics
from plimsoll_operator.cluster import ClusterError
from plimsoll_operator.kinds import WATCHED, Kind
from plimsoll_operator.manager import Manager
from plimsoll_operator.watch_storage import NoDifferences, NoProgress
from plimsoll_operator.watches import adapt

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
    """kopf without persistence, posting and scanning, and with watches that cannot go deaf."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = NoDifferences()
    settings.persistence.progress_storage = NoProgress()
    settings.watching.inactivity_timeout = INACTIVITY_SECONDS
    settings.watching.server_timeout = SERVER_SECONDS
    settings.watching.client_timeout = CLIENT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = Backoffs()
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = 1.0
    for kind in WATCHED:
        if kind.selector:
            resource = (kind.group, kind.version, kind.plural)
            settings.watching.label_selectors[resource] = kind.selector
    return settings


def registry(manager: Manager, stop: asyncio.Event) -> kopf.OperatorRegistry:
    """Handlers that feed `manager`. They set `stop` when kopf ends by itself, else it would wait
    for five seconds for its own task that waits for that."""
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
        _watch(handlers, manager, kind)
    return handlers


def _watch(handlers: kopf.OperatorRegistry, manager: Manager, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=handlers, id=kind.plural)
    async def see(event: kopf.RawEvent, **_: Any) -> None:
        metrics.WATCH_EVENTS.labels(kind=kind.name).inc()
        metrics.LAST_EVENT.set(time.time())
        manager.see(kind.name, dict(event["object"]), gone=event["type"] == "DELETED")


async def serve(manager: Manager, namespaces: tuple[str, ...]) -> bool:
    """Watches until the process is told to stop. Returns False where something failed instead."""
    stop = asyncio.Event()

    def listed(
        kind: Kind, items: Iterable[Mapping[str, Any]], version: str, namespace: str | None
    ) -> None:
        metrics.LAST_EVENT.set(time.time())
        manager.listed(kind, items, version, namespace)

    adapt(listed)
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
