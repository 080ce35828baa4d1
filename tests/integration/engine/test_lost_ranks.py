"""A rank that dies, hangs or cannot load ends the engine, with a clear word and no process left."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from plimsoll_runtime import builtin
from plimsoll_runtime.core.request import (
    FinishReason,
    SamplingParams,
)
from plimsoll_runtime.engine import collectives
from plimsoll_runtime.engine import ranks as ranks_module
from plimsoll_runtime.engine.errors import EngineFailedError
from plimsoll_runtime.engine.execution import RunnerLostError
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.ranks import Rank
from tests.integration.engine.several_ranks import (
    GQA,
    TIMEOUT,
    Load,
    Question,
    alive,
    ranks_below,
    save,
    submit,
    until,
)

pytestmark = pytest.mark.timeout(240)


def test_a_killed_rank_ends_the_engine_at_once(load: Load, temporary: Path) -> None:
    engine = load(builtin.path("tiny"), 4)
    ranks = ranks_below(os.getpid())
    assert len(ranks) == 3
    long = Question(list(range(100, 140)), SamplingParams(1500, temperature=0.0, seed=1))
    boxes = [submit(engine, i, long) for i in range(3)]
    assert all(box.get(timeout=TIMEOUT).finish_reason is None for box in boxes)
    os.kill(ranks[1], signal.SIGKILL)
    killed = time.monotonic()
    for box in boxes:
        output = box.get(timeout=TIMEOUT)
        while output.finish_reason is None:
            output = box.get(timeout=TIMEOUT)
        assert output.finish_reason is FinishReason.ERROR
    assert time.monotonic() - killed < 5
    assert isinstance(engine.failed, RunnerLostError)
    cause = f"tensor-parallel rank 2 (process {ranks[1]}) was ended by SIGKILL"
    assert str(engine.failed) == cause
    with pytest.raises(EngineFailedError, match="was ended by SIGKILL"):
        submit(engine, 9, long)
    until(lambda: not any(alive(rank) for rank in ranks))
    until(lambda: not list(temporary.iterdir()))


def test_a_rank_that_hangs_ends_the_engine_too(
    load: Load, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectives, "TIMEOUT", timedelta(seconds=3))
    monkeypatch.setattr(ranks_module, "VERDICT_SECONDS", 0.1)
    monkeypatch.setattr(ranks_module, "END_SECONDS", 0.5)
    engine = load(builtin.path("tiny"), 2)
    (rank,) = ranks_below(os.getpid())
    box = submit(engine, 0, Question([5, 6, 7], SamplingParams(1500, temperature=0.0, seed=1)))
    box.get(timeout=TIMEOUT)
    os.kill(rank, signal.SIGSTOP)
    output = box.get(timeout=TIMEOUT)
    while output.finish_reason is None:
        output = box.get(timeout=TIMEOUT)
    assert output.finish_reason is FinishReason.ERROR
    assert "ranks are out of step: all-reduce failed" in str(engine.failed)
    until(lambda: not alive(rank))
    until(lambda: not list(temporary.iterdir()))


def test_what_a_rank_cannot_load_is_told_and_leaves_no_process(
    tmp_path: Path, temporary: Path
) -> None:
    folder = save(tmp_path, **GQA)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {name: torch.ones(48, 31)}, folder / "model.safetensors")
    options = EngineOptions(device="cpu", tensor_parallel_size=2)
    with pytest.raises(ValueError, match=rf"{name} has shape \[48, 31\]"):
        load_engine(folder, options)
    assert ranks_below(os.getpid()) == []
    assert not list(temporary.iterdir())


def test_a_rank_does_not_outlive_rank_0(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    rank = Rank(1, None, meeting)
    rank.channel.close()  # as the kernel does when rank 0 is killed
    assert rank.process.wait(TIMEOUT) == 0
    assert not meeting.exists()
