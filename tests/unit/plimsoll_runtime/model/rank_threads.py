"""Ranks as threads of one process, so that layers can be tested without others."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

R = TypeVar("R")


@dataclass
class Table:
    """Where the ranks lay down what they share."""

    size: int
    barrier: threading.Barrier = field(init=False)
    laid: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=20)

    def exchange(self, rank: int, x: Tensor) -> list[Tensor]:
        """Every rank's tensor, in order."""
        self.laid[rank] = x.clone()
        self.barrier.wait()
        found = [self.laid[each] for each in range(self.size)]
        self.barrier.wait()
        return found


@dataclass
class ThreadGroup:
    """One thread's place at the table; see `Group`."""

    rank: int
    table: Table
    calls: int = 0

    @property
    def size(self) -> int:
        return self.table.size

    def all_reduce(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.stack(self.table.exchange(self.rank, x)).sum(dim=0)

    def gather(self, x: Tensor) -> Tensor:
        self.calls += 1
        found = self.table.exchange(self.rank, x)
        return torch.cat(found, dim=-1) if self.rank == 0 else x


def on_ranks(size: int, run: Callable[[ThreadGroup], R]) -> list[R]:
    """What `run` returns on each of `size` ranks, all at once."""
    table = Table(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, [ThreadGroup(rank, table) for rank in range(size)]))
