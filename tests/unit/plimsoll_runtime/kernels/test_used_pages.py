"""Pages that are given back: those of the tensor, no others."""

import sys
from pathlib import Path

import pytest
import torch

from plimsoll_runtime.kernels.used_pages import give_back

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
