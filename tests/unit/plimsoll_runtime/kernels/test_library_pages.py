"""Pages of libraries that are given back: those that are as on disk, and data that nobody reads."""

import ctypes
import mmap
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plimsoll_runtime.kernels.library_pages import give_back_libraries, zeros_of

PAGE = 4096
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is resident")


def resident_file_bytes() -> int:
    """Of files that this process has mapped."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssFile:")[2].split()[0]) * 1024


def mapped_file(path: Path, contents: bytes, protection: int) -> tuple[mmap.mmap, int]:
    """A private mapping as libraries have, and its address."""
    path.write_bytes(contents)
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), len(contents), mmap.MAP_PRIVATE, protection)
    return mapping, torch.frombuffer(mapping, dtype=torch.uint8).data_ptr()


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_what_is_as_on_disk_is_let_go_and_read_again(tmp_path: Path) -> None:
    size = 16 << 20
    contents = b"plimsoll" * (size // 8)
    mapping, _ = mapped_file(tmp_path / "library", contents, mmap.PROT_READ)
    assert mapping[:] == contents
    before = resident_file_bytes()
    give_back_libraries()
    assert before - resident_file_bytes() > 0.9 * size
    assert mapping[:] == contents


def test_what_was_written_to_stays(tmp_path: Path) -> None:
    """As tables that the dynamic linker fills in, and then protects from being written to."""
    size = 16 * PAGE
    mapping, address = mapped_file(tmp_path / "a", bytes(size), mmap.PROT_READ | mmap.PROT_WRITE)
    mapping[5 * PAGE : 5 * PAGE + 5] = b"filed"
    give_back_libraries()
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), size, mmap.PROT_READ) == 0
    give_back_libraries()
    assert mapping[5 * PAGE : 5 * PAGE + 5] == b"filed"


def test_without_the_kernel_s_word_nothing_is_done(tmp_path: Path) -> None:
    give_back_libraries(tmp_path / "smaps")


def elf(*parts: tuple[int, int, int, int]) -> bytes:
    """A file's beginning with program headers of these types, addresses, and sizes in the file and
    in memory."""
    head = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<Q", 64)
    head = head.ljust(54, b"\0") + struct.pack("<HH", 56, len(parts))
    for kind, start, in_file, size in parts:
        each = struct.pack("<IIQQQQQQ", kind, 6, 0, start, start, in_file, size, PAGE)
        head = head.ljust(64, b"\0") + each
    return head


def test_where_a_librarys_zeros_are() -> None:
    text, data = (1, 0, 5 * PAGE, 5 * PAGE), (1, 7 * PAGE + 100, 2 * PAGE, 6 * PAGE)
    assert zeros_of(elf(text, data)) == [(10 * PAGE, 13 * PAGE)]
    moved = [(1, 3 * PAGE + start, in_file, size) for _, start, in_file, size in (text, data)]
    assert zeros_of(elf(*moved)) == [(10 * PAGE, 13 * PAGE)]
    assert zeros_of(elf(text, (1, 5 * PAGE, 10, PAGE))) == []
    assert zeros_of(elf((6, 0, 0, 9 * PAGE))) == []
    assert zeros_of(b"#!/bin/sh") == zeros_of(b"") == []
    assert zeros_of(elf(text, data)[:100]) == []


def test_a_librarys_data_is_let_go_and_read_no_more(tmp_path: Path) -> None:
    """In a process of its own, which ends by reading it: a file, and memory right behind it."""
    size = 64 * PAGE
    program = f"""
import ctypes, mmap, pathlib, sys
from plimsoll_runtime.kernels.library_pages import give_back_data
call = ctypes.CDLL(None).mmap
call.restype, call.argtypes = ctypes.c_void_p, (ctypes.c_void_p, *(ctypes.c_long,) * 5)
path = pathlib.Path(sys.argv[1])
path.write_bytes(bytes.fromhex("{elf((1, 0, size, 2 * size)).hex()}").ljust({size}, b"0"))
rights = mmap.PROT_READ | mmap.PROT_WRITE
begin = call(None, {2 * size}, rights, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
with path.open() as file:  # 16 is MAP_FIXED
    call(begin, {size}, mmap.PROT_READ, mmap.MAP_PRIVATE | 16, file.fileno(), 0)
ctypes.memset(begin + {size}, 7, {size})
give_back_data("libabsent.so")
print(ctypes.string_at(begin + {size}, 2), flush=True)
give_back_data("libtables.so")
print(len(ctypes.string_at(begin, {size})), flush=True)
ctypes.string_at(begin + {size}, 2)
print("read")
"""
    command = [sys.executable, "-c", program, str(tmp_path / "libtables.so.1")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    assert ended.stdout.splitlines() == [repr(b"\x07\x07"), str(size)], ended.stderr
    assert ended.returncode == -signal.SIGSEGV
