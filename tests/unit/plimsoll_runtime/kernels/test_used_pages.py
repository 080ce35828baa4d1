"""Pages that are given back: those of the tensor, no others."""

import ctypes
import mmap
import sys
from pathlib import Path

import pytest
import torch

from plimsoll_runtime.kernels.used_pages import give_back, give_back_libraries

PAGE = 4096
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is resident")


def resident_file_bytes() -> int:
    """Of files that this process has mapped."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssFile:")[2].split()[0]) * 1024


def test_a_mapped_file_is_no_longer_resident(tmp_path: Path) -> None:
    size = 8 << 20
    path = tmp_path / "numbers"
    path.write_bytes(bytes(size))
    mapped = torch.from_file(str(path), size=size, dtype=torch.uint8)
    assert not mapped.any()
    before = resident_file_bytes()
    give_back(mapped)
    assert before - resident_file_bytes() > 0.9 * size
    assert path.stat().st_size == size
    assert not mapped.any()  # read from the file again


@pytest.mark.parametrize(("begin", "end"), [(1, 2 * PAGE), (PAGE + 8, 9 * PAGE + 5), (7, 7)])
def test_what_lies_around_stays(begin: int, end: int) -> None:
    memory = torch.ones(16 * PAGE, dtype=torch.uint8)
    give_back(memory[begin:end])
    assert bool((memory[:begin] == 1).all())
    assert bool((memory[end:] == 1).all())


def test_gaps_and_other_devices_are_left_alone() -> None:
    memory = torch.ones((64, 2 * PAGE), dtype=torch.uint8)
    give_back(memory[:, ::2])
    give_back(memory[:, :PAGE])
    assert bool((memory == 1).all())
    give_back(torch.empty(2 * PAGE, dtype=torch.uint8, device="meta"))


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
