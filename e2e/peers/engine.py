"""An engine that is measured: what it is made of, and how it is started at its best."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from e2e.peers.environments import Environment
from e2e.peers.models import RandomModel

ROOT = Path(__file__).parents[2]
THREADS = len(os.sched_getaffinity(0))
STEP_TOKENS = 1024
KV_BYTES = 3 * 2**30
"""Of the KV cache of every engine that lets it be said."""


class Precision(StrEnum):
    """Of the weights; engines of one class are set against each other."""

    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True)
class Size:
    """What a server must hold: `sequences` at once, of `context` tokens each at most."""

    sequences: int = 64
    context: int = 2048


@dataclass(frozen=True)
class Start:
    """A command that serves on a port, and what to say of it beside its version."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Engine:
    """`start` gets the model, the port and the size, after `environment` is made, and prepares what
    it needs itself. Raises RuntimeError where that fails.

    `only` these workloads are sent, if any: what takes one request at a time would only say how
    long its queue is. What is `slow` to start is left stopped (SIGSTOP) between its turns instead
    of being ended. `missing` says why it cannot be run here, if so.
    """

    name: str
    version: str
    start: Callable[[RandomModel, int, Size], Start]
    precision: Precision = Precision.BF16
    environment: Environment | None = None
    only: tuple[str, ...] = ()
    slow: bool = False
    missing: Callable[[], str] = _nothing

    def runs(self, workload: str) -> bool:
        """Whether it is sent that workload."""
        return not self.only or workload in self.only
