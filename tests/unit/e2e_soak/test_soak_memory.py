"""Growth is told where there is some, and not where there is none."""

import os
import random
from pathlib import Path

import pytest

from e2e.soak.memory import ALL, Reading, Sample, growth, medians, read


def samples(server: list[int], engine: int = 1000) -> list[Sample]:
    return [
        Sample(second, {"server": Reading(size, size), "engine": Reading(engine, engine)})
        for second, size in enumerate(server)
    ]


def test_a_leak_after_the_warm_up_is_seen_and_the_warm_up_is_not() -> None:
    warming = list(range(100, 200)) + [200] * 500
    assert growth(medians(samples(warming), "server", 6)) == 0
    leaking = list(range(1000, 1600))
    assert growth(medians(samples(leaking), "server", 6)) == pytest.approx(400 / 1150, rel=0.01)


def test_peaks_do_not_decide() -> None:
    chance = random.Random(0)
    noisy = [100 if chance.random() < 0.8 else 10_000 for _ in range(600)]
    assert growth(medians(samples(noisy), "server", 6)) == 0


def test_all_is_the_sum_and_a_process_that_does_not_run_is_nothing() -> None:
    one = samples([5], engine=7)[0]
    assert (one.resident(ALL), one.resident("engine"), one.resident("grammars")) == (12, 7, 0)


def test_too_few_samples_are_no_verdict() -> None:
    for few in ([], samples([1]), samples([1, 2, 3])):
        with pytest.raises(ValueError, match="too few"):
            medians(few, "server", 6)


def test_a_process_is_read(tmp_path: Path) -> None:
    own = read(os.getpid())
    assert own.resident > own.anonymous > 2**20
    with pytest.raises(OSError, match="smaps_rollup"):
        read(1, proc=tmp_path)
