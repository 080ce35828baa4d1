"""Kernels that tell how long each of their calls took."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

from plimsoll_runtime.kernels.library import Function, Kernels


class Clocks:
    """Seconds by name, of one step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.names: dict[int, str] = {}
        """What a product is called, by the address of its weight."""

    def clear(self) -> None:
        """Forgets what was counted."""
        self.seconds.clear()
        self.calls.clear()

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begun
            self.calls[name] += 1

    def timed(self, kernels: Kernels) -> Kernels:
        """The same kernels, each call counted under its function's name, products under theirs."""
        functions: dict[str, Any] = {
            each.name: self._timed(each.name, getattr(kernels, each.name))
            for each in fields(kernels)
            if each.name != "best"
        }
        return replace(kernels, **functions)

    def _timed(self, name: str, function: Function) -> Function:
        def call(*arguments: Any) -> Any:
            known = self.names.get(arguments[0], name) if name.startswith("multiply") else name
            with self.on(known):
                return function(*arguments)

        return call
