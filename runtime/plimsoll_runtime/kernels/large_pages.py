"""Asks for large pages for memory that is read again and again."""

import mmap

from torch import Tensor

from plimsoll_runtime.kernels.advice import madvise

LEAST_BYTES = 1 << 20
"""Below, large pages would be none or mostly others'."""


def prefer_large_pages(memory: Tensor) -> None:
    """For a tensor on CPU that nobody has written to yet. In vain on other systems than Linux, and
    where its administrator has switched them off; nothing is different then but speed."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or memory.device.type != "cpu" or memory.nbytes < LEAST_BYTES:
        return
    # Whole pages, some bytes of which may be others': the advice changes no content.
    begin = memory.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    end = -(-(memory.data_ptr() + memory.nbytes) // mmap.PAGESIZE) * mmap.PAGESIZE
    madvise()(begin, end - begin, advice)
