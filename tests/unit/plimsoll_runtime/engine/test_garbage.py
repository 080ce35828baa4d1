"""A full collection does not walk through what stays for good."""

import ctypes
import gc
import mmap
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


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * mmap.PAGESIZE
