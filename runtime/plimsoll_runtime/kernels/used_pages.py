"""Gives pages back to the system whose contents nobody needs any more."""

import mmap
import re
from pathlib import Path

from torch import Tensor

from plimsoll_runtime.kernels.large_pages import madvise


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


_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (.)(.)(.)(.) \S+ \S+ (\d+)")


def give_back_libraries(smaps: Path = Path("/proc/self/smaps")) -> None:
    """Lets go of pages of mapped files as they are on disk: of programs and libraries, that is.

    Importing torch reads hundreds of megabytes of those, most of them once, as of CUDA's libraries
    on a machine without GPUs. They stay in the page cache, and what is used comes back from there.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or not smaps.is_file():
        return
    begin, end = 0, 0
    for line in smaps.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := _MAPPING.match(line):
            as_on_disk = found[4] == "-" and found[6] == "p" and found[7] != "0"
            begin, end = (int(found[1], 16), int(found[2], 16)) if as_on_disk else (0, 0)
        elif begin and line.startswith("Anonymous:") and line.split()[1] == "0":
            # With pages that were written to before, as by the dynamic linker, it is left alone.
            madvise()(begin, end - begin, advice)
