"""Watches that outlast what kopf would end the process for.

An error that it does not know (a list that has expired, an ERROR event of a busy etcd,
half a line) it takes for fatal; the kubelet would start the next process, later each time. Such a
watch begins anew instead, with a list, as after any other interruption.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kopf._cogs.clients import errors, watching  # kopf has no setting for it

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Between an error and the next attempt."""
_watch = watching.continuous_watch


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


def outlast() -> None:
    """Has all watches of this process outlast errors."""
    watching.continuous_watch = _outlasting
