"""What kopf's watches do otherwise than kopf does by itself.

They outlast errors. One that kopf does not know (a list that has expired, an ERROR event of a busy
etcd, half a line) it takes for fatal; the kubelet would start the next process, later each time.
Such a watch begins anew instead, with a list, as after any other interruption.

The list that a watch begins with is handed on as one. kopf makes an event of each of its
objects, and none of those that are no longer there, so what went between two watches, or between
our first list and kopf's, stayed in the store until the next list of ours.

And events are handed on at once. kopf keeps a task, a queue and a memory for every object that it
saw change, and looks through all handlers at each event, to do things that we ask nothing of.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from kopf._cogs.clients import errors, fetching, watching  # kopf has no setting for it

from plimsoll_operator.kube.kinds import WATCHED, Kind
from plimsoll_operator.kube.pruning import prune

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Between an error and the next attempt."""
_watch, _fetch = watching.continuous_watch, fetching.fetch_objs
CHANGES = frozenset({"ADDED", "MODIFIED", "DELETED"})
_KINDS = {(kind.group, kind.version, kind.plural): kind for kind in WATCHED}

Listed = Callable[[Kind, list[Mapping[str, Any]], str, str | None], object]
"""Takes all objects of a kind as of a version, in one namespace or, without one, everywhere."""
Seen = Callable[[Kind, Mapping[str, Any], bool], object]
"""Takes an object of a kind as an event shows it, and whether it is gone."""


async def _outlasting(**arguments: Any) -> AsyncGenerator[Any, None]:
    """One list and the watch after it. Raises errors.APINotFoundError where the kind is unknown,
    which time does not mend: the next start says what to do."""
    try:
        async with contextlib.aclosing(_watch(**arguments)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
    except errors.APINotFoundError:
        raise
    except (watching.WatchingError, errors.APIError, aiohttp.ClientError, ValueError) as error:
        extra = {"child": str(arguments["resource"]), "error": repr(error), "delay": AGAIN_SECONDS}
        logger.warning("watch begins anew", extra=extra)
        await asyncio.sleep(AGAIN_SECONDS)


def adapt(listed: Listed, seen: Seen) -> None:
    """Has all watches of this process outlast errors, `listed` told what they begin with, and
    `seen` what follows; of the kinds that we watch kopf itself learns neither."""

    async def fetch(**arguments: Any) -> AsyncIterator[Any]:
        kind = _kind_of(arguments["resource"])
        items: list[Mapping[str, Any]] = []
        async for chunk, version in _fetch(**arguments):
            if kind is None:
                yield chunk, version
                continue
            # Pruned page by page, since all of them at once as they come take many times the room.
            items.extend(prune(kind.name, item) for item in chunk)
            # All of it is told below, and kopf would start a task for each.
            yield (), version
        if kind is not None:
            listed(kind, items, version, arguments["namespace"])

    async def watch(**arguments: Any) -> AsyncIterator[Any]:
        kind = _kind_of(arguments["resource"])
        async with contextlib.aclosing(_outlasting(**arguments)) as events:
            async for event in events:
                if kind is None or isinstance(event, watching.Bookmark):
                    yield event
                elif event["type"] in CHANGES:
                    _tell(seen, kind, event)
                    # A burst that lies in the socket's buffer must not hold up everything else.
                    await asyncio.sleep(0)

    watching.continuous_watch = watch
    fetching.fetch_objs = fetch


def _kind_of(resource: Any) -> Kind | None:
    return _KINDS.get((resource.group, resource.version, resource.plural))


def _tell(seen: Seen, kind: Kind, event: Mapping[str, Any]) -> None:
    """A failure of ours costs one event, which the next list repairs, and not the watch."""
    try:
        seen(kind, event["object"], event["type"] == "DELETED")
    except Exception:
        logger.exception("event lost", extra={"child": kind.name})
