"""A full collection does not walk through what stays for good."""

import gc

import pytest

from plimsoll_runtime.engine import loader, service
from plimsoll_runtime.engine.messages import Load
from plimsoll_runtime.engine.options import EngineOptions


def test_what_lives_is_left_out_and_what_comes_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "load_engine", lambda folder, options: (folder, options))
    gc.collect()
    alive = len(gc.get_objects())
    try:
        service._load(Load("model", EngineOptions()))
        assert gc.get_freeze_count() > 0.9 * alive
        assert len(gc.get_objects()) < 0.1 * alive
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() > 0
    finally:
        gc.unfreeze()
