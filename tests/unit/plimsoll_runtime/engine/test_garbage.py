"""A full collection does not walk through what stays for good."""

import ctypes
import gc
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from plimsoll_runtime.engine import garbage, loader, service
from plimsoll_runtime.engine.messages import Load
from plimsoll_runtime.engine.options import EngineOptions


def test_what_lives_is_left_out_and_what_comes_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    collecting: list[bool] = []
    monkeypatch.setattr(loader, "load_engine", lambda *_: collecting.append(gc.isenabled()))
    gc.collect()
    alive = len(gc.get_objects())
    try:
        service._load(Load("model", EngineOptions()))
        assert collecting == [False]
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0.9 * alive
        assert len(gc.get_objects()) < 0.1 * alive
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() > 0
    finally:
        gc.enable()
        gc.unfreeze()


def test_what_was_freed_goes_back_to_the_system() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    # Too small to be mapped on their own, and the last one keeps the heap from shrinking.
    pieces = [bytearray(64 << 10) for _ in range(500)]
    last = bytearray(64 << 10)
    del pieces
    before = resident_bytes()
    garbage.trim()
    assert before - resident_bytes() > 20 << 20
    assert not any(last)


@pytest.mark.parametrize(("first", "heaps"), [("", 3), ("garbage.share_one_heap()", 1)])
def test_threads_share_a_heap(first: str, heaps: int) -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("not glibc")
    program = f"""
import ctypes
from threading import Barrier, Thread
from plimsoll_runtime.engine import garbage
{first}
together = Barrier(2)
def use():
    piece = bytearray(10_000)
    together.wait()
threads = [Thread(target=use) for _ in range(2)]
[each.start() for each in threads]
[each.join() for each in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
    told = subprocess.check_output([sys.executable, "-c", program], text=True)  # noqa: S603
    assert told.count("<heap nr=") == heaps


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * mmap.PAGESIZE
