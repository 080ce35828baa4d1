"""The ranks' collectives over torch.distributed: NCCL between GPUs, gloo between CPU processes.

The backend is made without torch's default group, which is one for the whole process. Ranks find
each other through a file in a folder that only this user may enter, and connect over loopback.
"""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, distributed

logger = logging.getLogger(__name__)

c10d: Any = distributed  # its stubs lack what makes a backend without the default group
TIMEOUT = timedelta(seconds=60)
"""How long a rank waits for the others in a collective before it gives up."""
LOOPBACK = "127.0.0.1"


class CollectiveError(RuntimeError):
    """Another rank did not take part: it has died or hangs."""


class _Work(Protocol):
    def wait(self) -> bool: ...


class _Backend(Protocol):
    """What torch's stubs leave out of its backends."""

    def allreduce(self, tensors: list[Tensor]) -> _Work: ...
    def gather(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: distributed.GatherOptions
    ) -> _Work: ...
    def abort(self) -> None: ...


class DistributedGroup:
    """See `Group` in `model.parallel`; errors are CollectiveError."""

    def __init__(self, backend: _Backend, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self._backend: _Backend | None = backend
        self._to_rank_0 = distributed.GatherOptions()
        self._to_rank_0.rootRank = 0

    def all_reduce(self, x: Tensor) -> Tensor:
        """Sums into `x`, which must be contiguous."""
        try:
            self._connected().allreduce([x]).wait()
        except RuntimeError as error:
            raise CollectiveError(f"all-reduce failed: {error}") from error
        return x

    def gather(self, x: Tensor) -> Tensor:
        """Every rank's `x` has the same shape and is contiguous."""
        outputs = [torch.empty_like(x) for _ in range(self.size)] if self.rank == 0 else []
        try:
            # One list for each tensor gathered, none where nothing arrives.
            self._connected().gather([outputs] if outputs else [], [x], self._to_rank_0).wait()
        except RuntimeError as error:
            raise CollectiveError(f"gather failed: {error}") from error
        return torch.cat(outputs, dim=-1) if outputs else x

    def abort(self) -> None:
        """Ends, from any thread, the collective that a lost rank left hanging; no other follows."""
        backend = self._backend
        if backend is None:
            return
        try:
            backend.abort()
        except RuntimeError:
            logger.exception("a hanging collective could not be aborted")

    def close(self) -> None:
        """Disconnects and ends the backend's threads, which must not outlive the interpreter."""
        self._backend = None

    def _connected(self) -> _Backend:
        if self._backend is None:
            raise CollectiveError("the group of ranks is closed")
        return self._backend


def connect(folder: Path, device: torch.device, rank: int, size: int) -> DistributedGroup:
    """Joins the other ranks, which must do the same in the same folder within TIMEOUT.

    Raises CollectiveError.
    """
    try:
        files = c10d.FileStore(str(folder / "store"), size)
        files.set_timeout(TIMEOUT)
        make = _nccl if device.type == "cuda" else _gloo
        group = DistributedGroup(make(files, rank, size), rank, size)
        # NCCL connects on first use.
        group.all_reduce(torch.zeros(1, device=device))
    except RuntimeError as error:
        raise CollectiveError(
            f"tensor-parallel rank {rank} could not join the other {size - 1}: {error}"
        ) from error
    return group


def _gloo(store: object, rank: int, size: int) -> _Backend:
    kind = c10d.ProcessGroupGloo
    options = kind._Options()
    options._devices = [kind.create_device(hostname=LOOPBACK)]
    options._timeout = TIMEOUT
    return cast(_Backend, kind(store, rank, size, options))


def _nccl(store: object, rank: int, size: int) -> _Backend:
    # All ranks are on this machine; data goes over NVLink, PCIe or shared memory.
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    options = c10d.ProcessGroupNCCL.Options()
    options._timeout = TIMEOUT
    return cast(_Backend, c10d.ProcessGroupNCCL(store, rank, size, options))
