"""Gives pages of libraries back to the system that are in their files, or that nobody reads."""

import mmap
import re
import struct
from pathlib import Path

from plimsoll_runtime.kernels.advice import NO_ACCESS, madvise, mprotect

CUDA_TABLES = "libcublasLt.so"
"""Of CUDA's libraries the one that fills tables when it is loaded, 87 MiB for products on GPUs."""
_PART = struct.Struct("<I4x8xQ8xQQ")
"""Of an ELF program header its type, address, bytes in the file and in memory."""
_LOADED = 1
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


def give_back_data(library: str, maps: Path = Path("/proc/self/maps")) -> None:
    """Lets go of what a library that nobody calls has written to memory that was zeros at first
    (its `.bss`).

    That is for good: whoever reads it after all, as by a call into the library, ends by SIGSEGV
    rather than go on with zeros. In vain where the library, whose file's name begins so, is not
    loaded.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or not maps.is_file():
        return
    for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
        address, _, offset, _, _, *name = line.split(maxsplit=5)
        if not name or not Path(name[0]).name.startswith(library) or int(offset, 16):
            continue
        base = int(address.split("-")[0], 16)
        with Path(name[0]).open("rb") as file:
            zeros = zeros_of(file.read(mmap.PAGESIZE))
        for begin, end in zeros:
            # In this order: nobody may see the zeros.
            if mprotect()(base + begin, end - begin, NO_ACCESS) == 0:
                madvise()(base + begin, end - begin, advice)


def zeros_of(head: bytes) -> list[tuple[int, int]]:
    """By the beginning of a program's file (ELF, 64 bits) the whole pages that are zeros when it is
    loaded, as distances from where its first page is. Empty for other files."""
    if not head.startswith(b"\x7fELF\x02\x01"):
        return []
    (at,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
    headers = (head[at + i * size : at + (i + 1) * size] for i in range(count))
    parts = [_PART.unpack_from(each) for each in headers if len(each) >= _PART.size]
    loaded = [(start, in_file, size) for kind, start, in_file, size in parts if kind == _LOADED]
    first = min((start for start, _, _ in loaded), default=0) // mmap.PAGESIZE * mmap.PAGESIZE
    found = []
    for start, in_file, size in loaded:
        begin = -(-(start + in_file - first) // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (start + size - first) // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end:
            found.append((begin, end))
    return found
