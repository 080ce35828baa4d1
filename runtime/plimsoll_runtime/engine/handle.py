"""What a server needs of an engine, be it in this process or in one of its own."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.request import Request, RequestOutput
from plimsoll_runtime.engine.stats import EngineStats

OutputCallback = Callable[[RequestOutput], None]


class EngineHandle(Protocol):
    """`engine.Engine` in this process, `remote.RemoteEngine` for one in its own; see there."""

    @property
    def limits(self) -> EngineLimits:
        """The limits that the engine runs under."""

    @property
    def model_config(self) -> ModelConfig:
        """The model's shape."""

    @property
    def failed(self) -> BaseException | None:
        """What ended the engine, if it failed."""

    @property
    def ready(self) -> bool:
        """Whether requests are served."""

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called once, on the loop that serves, before requests come."""

    def submit(self, request: Request, on_output: OutputCallback) -> None:
        """Queues a request. Raises ValueError or EngineFailedError."""

    def abort(self, request_id: str) -> None:
        """Ends a request, if it has not ended."""

    def set_limits(self, live: LiveLimits) -> None:
        """Changes limits before the next step. Raises ValueError or EngineFailedError."""

    def stats(self) -> EngineStats:
        """A snapshot that nothing waits for."""

    def stop(self) -> None:
        """Ends the engine; unfinished requests get the reason `abort`."""
