"""Large pages are asked for, and nothing else changes."""

import re
import sys
from pathlib import Path

import pytest
import torch

from plimsoll_runtime.kernels.large_pages import LEAST_BYTES, prefer_large_pages

HAS_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage").is_dir()


def flags_at(address: int) -> set[str]:
    """Of the mapping that holds it."""
    found: set[str] = set()
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            found = set(line.split()[1:])
    return found


@pytest.mark.skipif(
    sys.platform != "linux" or not HAS_LARGE_PAGES, reason="this kernel has no large pages"
)
def test_the_kernel_is_asked() -> None:
    memory = torch.empty(64 * LEAST_BYTES, dtype=torch.uint8)
    middle = memory.data_ptr() + memory.nbytes // 2
    assert "hg" not in flags_at(middle)
    prefer_large_pages(memory)
    assert "hg" in flags_at(middle)


@pytest.mark.parametrize("size", [0, 1, 5000, LEAST_BYTES + 3])
def test_contents_stay(size: int) -> None:
    before, memory, after = (torch.full((size,), i, dtype=torch.uint8) for i in (1, 2, 3))
    prefer_large_pages(memory)
    for i, each in enumerate((before, memory, after), start=1):
        assert (each == i).all()


def test_memory_elsewhere_is_left_alone() -> None:
    prefer_large_pages(torch.empty(2 * LEAST_BYTES, dtype=torch.uint8, device="meta"))
