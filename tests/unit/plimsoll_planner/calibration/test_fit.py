"""The fit finds what made the steps, whatever noise and slow steps are among them."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerator import Efficiency
from plimsoll_planner.accelerators import find
from plimsoll_planner.calibration.fit import (
    MIN_SAMPLES,
    Calibration,
    CalibrationError,
    Sample,
    calibrate,
    calibrated,
    prior_values,
)
from plimsoll_planner.calibration.fit_parameters import (
    ATTENTION,
    BANDWIDTH,
    BOUNDS,
    COMPUTE,
    KV_CACHE,
    PARAMETERS,
    SEQUENCE,
    STEP,
)
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import models

FACTS = model_facts(models.LLAMA_31_8B)


def shape(name: str = "A100") -> Shape:
    gpu = find(name)
    assert gpu is not None
    return Shape(gpu, gpu.name, "BF16", "BF16")


def truly(compute: float, bandwidth: float, step: float, sequence: float) -> Shape:
    base = shape()
    measured = replace(
        base.accelerator,
        efficiency=Efficiency(compute, bandwidth),
        step_seconds=step,
        sequence_seconds=sequence,
    )
    return replace(base, accelerator=measured)


def steps_of(
    true: Shape, count: int, *, noise: float, slow: float, seed: int, prompts: bool = True
) -> list[Sample]:
    """Steps of mixed load; `noise` is lognormal, a share `slow` takes 2 to 20 times as long."""
    chance = random.Random(seed)
    step = step_time(FACTS, true)
    found = []
    for _ in range(count):
        sequences = chance.randint(1, 128)
        prompt = chance.randint(16, 4096) if prompts and chance.random() < 0.5 else 0
        context = sequences * chance.randint(50, 2000) + prompt
        sample = Sample(sequences + prompt, sequences, context, 1.0)
        seconds = step(sample.tokens, sample.sequences, sample.context, sample.pairs)
        seconds *= chance.lognormvariate(0, noise)
        seconds *= chance.uniform(2, 20) if chance.random() < slow else 1.0
        found.append(replace(sample, seconds=seconds))
    return found


@settings(max_examples=8, deadline=None)
@given(
    st.floats(0.35, 0.9),
    st.floats(0.5, 0.98),
    st.floats(5e-4, 1e-2),
    st.floats(1e-5, 2e-4),
    st.floats(0.0, 0.15),
    st.integers(0, 2**16),
)
def test_the_truth_is_found_among_noise_and_outliers(
    compute: float, bandwidth: float, step: float, sequence: float, slow: float, seed: int
) -> None:
    true = truly(compute, bandwidth, step, sequence)
    found = calibrate(FACTS, shape(), steps_of(true, 300, noise=0.02, slow=slow, seed=seed))
    assert found.compute == pytest.approx(compute, rel=0.05)
    assert found.error <= 0.03
    again = step_time(FACTS, calibrated(shape(), found))
    for clean in steps_of(true, 20, noise=0.0, slow=0.0, seed=seed + 1):
        predicted = again(clean.tokens, clean.sequences, clean.context, clean.pairs)
        assert predicted == pytest.approx(clean.seconds, rel=0.05)


def test_outliers_are_left_out_and_counted() -> None:
    true = truly(0.5, 0.7, 5e-3, 6e-5)
    found = calibrate(FACTS, shape(), steps_of(true, 400, noise=0.01, slow=0.1, seed=3))
    assert 25 <= found.rejected <= 60
    assert found.samples == 400 - found.rejected
    assert found.error <= found.error_p90 <= 0.05
    assert found.determined == PARAMETERS


def test_what_the_steps_do_not_tell_stays_as_it_was() -> None:
    true = truly(0.3, 0.7, 5e-3, 6e-5)
    alone = [
        replace(sample, tokens=1, sequences=1, context=100)
        for sample in steps_of(true, 60, noise=0.0, slow=0.0, seed=4, prompts=False)
    ]
    seconds = step_time(FACTS, true)(1, 1, 100, 100)
    found = calibrate(FACTS, shape(), [replace(s, seconds=seconds) for s in alone])
    assert COMPUTE not in found.determined
    assert SEQUENCE not in found.determined
    kept = calibrated(shape(), found).accelerator
    assert kept.efficiency.compute is None
    assert kept.sequence_seconds == shape().accelerator.sequence_seconds
    assert found.compute == pytest.approx(prior_values(FACTS, shape())[COMPUTE], rel=0.05)
    assert kept.efficiency.error == found.error


def test_figures_stay_within_what_is_physical() -> None:
    true = truly(0.9, 0.95, 1e-3, 2e-5)
    faster_than_peak = [
        replace(sample, seconds=sample.seconds / 1.2)
        for sample in steps_of(true, 100, noise=0.0, slow=0.0, seed=5)
    ]
    found = calibrate(FACTS, shape(), faster_than_peak)
    for name, value in {
        COMPUTE: found.compute,
        BANDWIDTH: found.bandwidth,
        STEP: found.step_seconds,
        SEQUENCE: found.sequence_seconds,
    }.items():
        low, high = BOUNDS[name]
        assert low * 0.999 <= value <= high * 1.001
    assert found.error > 0.03


def test_on_cpu_the_peaks_may_be_beaten() -> None:
    core = find("cpu")
    assert core is not None
    base = Shape(core, "cpu", "FP32", "FP32", 1, 2.0)
    facts = model_facts(models.TINY)
    fast = replace(base, accelerator=replace(core, efficiency=Efficiency(3.0, 2.5)))
    step = step_time(facts, fast)
    chance = random.Random(6)
    samples = []
    for _ in range(200):
        sequences, prompt = chance.randint(1, 32), chance.choice((0, 0, 64, 500))
        one = Sample(sequences + prompt, sequences, sequences * 300 + prompt, 1.0)
        seconds = step(one.tokens, one.sequences, one.context, one.pairs)
        samples.append(replace(one, seconds=seconds * chance.lognormvariate(0, 0.02)))
    found = calibrate(facts, base, samples)
    # Where computing and reading overlap, only the longer of both can be seen.
    assert found.compute == pytest.approx(3.0, rel=0.2)
    assert found.bandwidth > 1.0
    assert found.error <= 0.03


def test_on_cpu_attention_is_told_apart_from_products() -> None:
    core = find("cpu")
    assert core is not None
    base = Shape(core, "cpu", "BF16", "BF16", 1, 1.0)
    facts = model_facts(models.LLAMA_31_8B)
    efficiency = Efficiency(0.6, 1.4, attention=0.14, kv_cache=0.22)
    true = replace(base, accelerator=replace(core, efficiency=efficiency, step_seconds=0.01))
    step, chance, samples = step_time(facts, true), random.Random(10), []
    for _ in range(300):
        if chance.random() < 0.4:
            tokens, sequences = chance.randint(1, 512), 1
            context = tokens + chance.choice((0, 512))
        else:
            tokens = sequences = chance.randint(1, 32)
            context = sequences * chance.randint(16, 1000)
        one = Sample(tokens, sequences, context, 1.0)
        seconds = step(tokens, sequences, context, one.pairs) * chance.lognormvariate(0, 0.02)
        samples.append(replace(one, seconds=seconds))
    found = calibrate(facts, base, samples)
    assert set(found.determined) >= {COMPUTE, BANDWIDTH, ATTENTION, KV_CACHE}
    assert found.compute == pytest.approx(0.6, rel=0.05)
    assert found.bandwidth == pytest.approx(1.4, rel=0.05)
    assert found.attention == pytest.approx(0.14, rel=0.1)
    assert found.kv_cache == pytest.approx(0.22, rel=0.1)
    assert calibrated(base, found).accelerator.efficiency.attention == found.attention


def test_a_sequence_alone_tells_what_it_computed_before() -> None:
    assert Sample(100, 1, 100, 1.0).pairs == 100 * 101 / 2
    assert Sample(100, 1, 612, 1.0).pairs == 100 * 512 + 100 * 101 / 2
    assert Sample(1, 1, 40, 1.0).pairs == 40
    assert Sample(8, 8, 900, 1.0).pairs == 900


def test_too_few_steps_are_refused() -> None:
    few = steps_of(shape(), MIN_SAMPLES - 1, noise=0.0, slow=0.0, seed=7)
    idle = [Sample(0, 0, 0, 0.1), Sample(1, 1, 1, 0.0)]
    with pytest.raises(CalibrationError, match=f"{MIN_SAMPLES - 1} steps measured"):
        calibrate(FACTS, shape(), few + idle)


def test_steps_of_something_else_are_refused() -> None:
    chance = random.Random(8)
    nonsense = [
        replace(
            sample, seconds=10 ** (-3 if chance.random() < 0.6 else 1) * chance.uniform(0.99, 1)
        )
        for sample in steps_of(shape(), 100, noise=0.0, slow=0.0, seed=8)
    ]
    with pytest.raises(CalibrationError, match="not what was measured"):
        calibrate(FACTS, shape(), nonsense)


def test_the_same_steps_give_the_same_fit() -> None:
    samples = steps_of(truly(0.6, 0.8, 2e-3, 3e-5), 80, noise=0.05, slow=0.1, seed=9)
    first, second = (calibrate(FACTS, shape(), samples) for _ in range(2))
    assert isinstance(first, Calibration)
    assert first == second
    assert all(math.isfinite(value) for value in (first.compute, first.error, first.error_p90))
