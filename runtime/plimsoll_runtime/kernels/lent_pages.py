"""Memory of zeros that the system lends only when it is used, or asked for, a piece at a time."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from plimsoll_runtime.kernels.advice import POPULATE_WRITE, madvise
from plimsoll_runtime.kernels.large_pages import prefer_large_pages

PIECE_BYTES = 2 << 20
"""Asked for at a time: a large page, cleared in a fraction of a millisecond."""


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor on CPU, at the beginning of a large page."""
    size = torch.Size(shape).numel() * dtype.itemsize
    # By calloc: what comes from the system is zeros already and is not written to.
    memory = np.zeros(size + PIECE_BYTES, np.uint8)
    first = -memory.ctypes.data % PIECE_BYTES
    tensor = torch.from_numpy(memory[first : first + size]).view(dtype).view(shape)
    prefer_large_pages(tensor)
    return tensor


def lend(address: int, size: int) -> bool:
    """Has the system lend the pages that hold these bytes, whose contents stay, whoever writes to
    them meanwhile. False where it cannot be asked to.

    Raises MemoryError when it has none.
    """
    if sys.platform != "linux":
        return False
    page = os.sysconf("SC_PAGE_SIZE")
    begin, end = address // page * page, -(-(address + size) // page) * page
    if madvise()(begin, end - begin, POPULATE_WRITE) == 0:
        return True
    if (reason := ctypes.get_errno()) == errno.ENOMEM:
        raise MemoryError(f"the system has no {size} bytes more: {os.strerror(reason)}")
    return False


def pieces(memory: Tensor, rows: int) -> Iterator[tuple[int, int]]:
    """Addresses and sizes of all of a contiguous tensor: a piece of each of its `rows`, which are
    as long, then the next piece of each."""
    length = memory.nbytes // rows
    for at in range(0, length, PIECE_BYTES):
        for row in range(rows):
            yield memory.data_ptr() + row * length + at, min(PIECE_BYTES, length - at)
