"""Gives pages back to the system whose contents nobody needs any more."""

import mmap

from torch import Tensor

from plimsoll_runtime.kernels.advice import madvise


def give_back(memory: Tensor) -> None:
    """Lets go of the pages that lie wholly in a tensor, whose contents are lost.

    Those of a file that is mapped stay in the page cache. In vain for tensors on other devices or
    with gaps, and on systems without the call.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or memory.device.type != "cpu" or not memory.is_contiguous():
        return
    begin = -(-memory.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (memory.data_ptr() + memory.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if begin < end:
        madvise()(begin, end - begin, advice)
