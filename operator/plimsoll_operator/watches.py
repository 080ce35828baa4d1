"""What kopf's watches do otherwise than kopf does by itself.

They outlast errors. One that kopf does not know (a list that has expired, an ERROR event of a busy
etcd, half a line) it takes for fatal; the kubelet would start the next process, later each time.
Such a watch begins anew instead, with a list, as after any other interruption.

And the list that a watch begins with is handed on as one. kopf makes an event of each of its
objects, and none of those that are no longer there, so what went between two watches, or between
our first list and kopf's, stayed in the store until the next list of ours.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from kopf._cogs.clients import errors, fetching, watching  # kopf has no setting for it

from plimsoll_operator.kinds import WATCHED, Kind

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Between an error and the next attempt."""
_watch, _fetch = watching.continuous_watch, fetching.fetch_objs
_KINDS = {(kind.group, kind.version, kind.plural): kind for kind in WATCHED}

Listed = Callable[[Kind, list[Mapping[str, Any]], str, str | None], object]
"""Takes all objects of a kind as of a version, in one namespace or, without one, everywhere."""


async def _outlasting(**arguments: Any) -> AsyncIterator[Any]:
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


def adapt(listed: Listed) -> None:
    """Has all watches of this process outlast errors, and `listed` told what they begin with."""

    async def fetch(**arguments: Any) -> AsyncIterator[Any]:
        resource = arguments["resource"]
        kind = _KINDS.get((resource.group, resource.version, resource.plural))
        items: list[Mapping[str, Any]] = []
        async for chunk, version in _fetch(**arguments):
            if kind is None:
                yield chunk, version
                continue
            items.extend(chunk)
            # All of it is told below, and kopf would start a task for each.
            yield (), version
        if kind is not None:
            listed(kind, items, version, arguments["namespace"])

    watching.continuous_watch = _outlasting
    fetching.fetch_objs = fetch
