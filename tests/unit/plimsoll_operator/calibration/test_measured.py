"""What engines measure makes the next plan, and no more than that."""

import random
from dataclasses import replace

import pytest

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import MeasuredCalibration
from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.calibration.figures import frontend_time
from plimsoll_operator.calibration.measured import (
    MOST_SAMPLES,
    Subject,
    can_be_measured,
    fitted,
    in_use,
    newest,
    told,
    with_measured,
)
from plimsoll_operator.planning.model_source import read_model_config
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.planning.status import plan_status
from plimsoll_planner.accelerators import find
from plimsoll_planner.calibration.fit import CalibrationError, Sample
from plimsoll_planner.calibration.frontend_fit import WorkTime
from plimsoll_planner.calibration.frontend_work import Work
from plimsoll_planner.inputs import AcceleratorPool
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.planner import plan
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_operator.samples import resource
from tests.unit.plimsoll_planner.worked import worked

TINY = read_model_config("builtin://tiny").model
POOLS = {
    "cpu": AcceleratorPool("cpu", 4, 1, 16 * 2**30),
    "NVIDIA-L4": AcceleratorPool("NVIDIA-L4", 1, 1),
}
NOW = "2026-01-31T12:00:00Z"
LATER = "2026-02-01T12:00:00Z"
SERVER = WorkTime(2e-3, 2e-6, 1e-4, 8e-5, 4e-5, 0.01)


def spec(product: str, **more: object) -> LLMDeploymentSpec:
    model = {"source": "builtin://tiny"}
    return parse_spec({"model": model, "accelerators": {"allow": [product]}, **more})


def subject(product: str) -> Subject:
    asked = spec(product)
    made = plan_status(plan(plan_request(asked, TINY, (POOLS[product],))))
    assert made is not None
    return Subject(asked, made, TINY, ())


def steps(product: str, count: int = 600, slower: float = 1.0, seed: int = 3) -> list[Sample]:
    """Of an engine whose every step takes `slower` times what is assumed, with outliers."""
    known = find(product)
    assert known is not None
    cores = 1.0 if product == "cpu" else None
    precision = "FP32" if product == "cpu" else "BF16"
    step = step_time(model_facts(TINY), Shape(known, product, precision, precision, 1, cores))
    chance, found = random.Random(seed), []
    for _ in range(count):
        sequences, prompt = chance.randint(1, 40), chance.choice((0, 0, 0, 200, 900))
        tokens, context = sequences + prompt, sequences * chance.randint(20, 900) + prompt
        sample = Sample(tokens, sequences, context, 1.0)
        seconds = slower * step(tokens, sequences, context, sample.pairs)
        seconds *= chance.lognormvariate(0, 0.03) * (5 if chance.random() < 0.02 else 1)
        found.append(replace(sample, seconds=seconds))
    return found


def fit(given: Subject, samples: list[Sample]) -> MeasuredCalibration:
    found = fitted(given, samples, NOW)
    assert found is not None
    return found


@pytest.mark.parametrize("product", ["cpu", "NVIDIA-L4"])
def test_the_next_plan_is_made_with_what_was_measured(product: str) -> None:
    given = subject(product)
    found = fit(given, steps(product, slower=1.6))
    assert (found.accelerator, found.model, found.measured_at) == (product, "builtin://tiny", NOW)
    assert float(found.error) < 0.05
    assert 500 <= found.samples < 600
    asked = plan_request(given.spec, TINY, (POOLS[product],))
    before = plan(asked).plan
    after = plan(replace(asked, accelerators=with_measured((), [found]))).plan
    assert before is not None
    assert after is not None
    assert after.predicted.tpot_p95 > 1.3 * before.predicted.tpot_p95
    # Its range is the error of the fit, and no more that of published measurements.
    (low, high), (low_before, high_before) = (
        item.predicted.tpot_p95_range or (0.0, 0.0) for item in (after, before)
    )
    assert high / low < 1.35 < high_before / low_before


@pytest.mark.parametrize("product", ["cpu", "NVIDIA-L4"])
def test_what_was_found_stands_while_it_explains_the_steps(product: str) -> None:
    given = subject(product)
    first = fit(given, steps(product))
    assert fit(given, steps(product)) == first
    after = replace(given, before=first)
    assert fitted(after, steps(product, seed=4), "2026-02-01T12:00:00Z") is None
    slower = fitted(after, steps(product, slower=1.2), NOW)
    assert slower is not None
    assert slower != first
    # Of another model or accelerator it says nothing.
    for change in ({"model": "hf://org/other"}, {"accelerator": "NVIDIA-T4"}):
        other = replace(given, before=first.model_copy(update=change))
        assert fitted(other, steps(product, seed=4), NOW) is not None


def test_the_status_says_the_newest_of_its_model() -> None:
    first, slower = fit(subject("cpu"), steps("cpu")), fit(subject("cpu"), steps("cpu", slower=2))
    spoken = first.model_dump(mode="json", by_alias=True, exclude_none=True)
    there = resource(spec={"model": {"source": "builtin://tiny"}}, status={"calibration": spoken})
    assert there.status.calibration == first
    assert told(there, None) == first
    assert told(there, slower) == slower
    model = {"source": "hf://org/other", "revision": "0123abc"}
    other = resource(spec={"model": model}, status={"calibration": spoken})
    assert told(other, None) is None
    assert told(other, slower) is None


def test_it_is_of_one_model() -> None:
    found = fit(subject("cpu"), steps("cpu"))
    assert in_use(found, spec("cpu")) == found
    edited = spec("cpu", model={"source": "hf://org/other", "revision": "0123abc"})
    assert in_use(found, edited) is None
    assert in_use(None, edited) is None


@pytest.mark.parametrize("count", [0, 199])
def test_few_steps_say_nothing(count: int) -> None:
    with pytest.raises(CalibrationError, match="200 needed"):
        fitted(subject("cpu"), steps("cpu", count), NOW)


@pytest.mark.parametrize("product", ["cpu", "NVIDIA-L4"])
def test_steps_that_are_all_alike_say_nothing_of_others(product: str) -> None:
    with pytest.raises(CalibrationError, match="too much alike"):
        fitted(subject(product), [Sample(4, 4, 400, 0.01)] * 300, NOW)


def test_however_many_steps_there_are_the_fit_is_bounded() -> None:
    found = fit(subject("cpu"), steps("cpu", 3000))
    assert found.samples <= MOST_SAMPLES


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 0.0, 1e9])
def test_times_that_are_none_do_not_count(seconds: float) -> None:
    good = steps("cpu", 250)
    spoilt = [*good, *(replace(item, seconds=seconds) for item in good)]
    assert fitted(subject("cpu"), spoilt, NOW) == fitted(subject("cpu"), good, NOW)


@pytest.mark.parametrize("field", ["computeEfficiency", "stepOverhead", "error"])
def test_a_status_that_somebody_has_written_is_no_calibration(field: str) -> None:
    found = fit(subject("cpu"), steps("cpu"))
    spoilt = found.model_dump(mode="json", by_alias=True, exclude_none=True) | {field: "nan"}
    there = resource(spec={"model": {"source": "builtin://tiny"}}, status={"calibration": spoilt})
    assert there.status.calibration is None


def test_what_is_known_of_others_stays() -> None:
    found = fit(subject("cpu"), steps("cpu"))
    l4 = find("NVIDIA-L4")
    assert l4 is not None
    named = [item.name for item in with_measured((l4,), [found])]
    assert named == ["NVIDIA-L4", "cpu"]
    assert with_measured((l4,), ()) == (l4,)
    gone = found.model_copy(update={"accelerator": "A product of yesterday"})
    assert with_measured((l4,), [gone]) == (l4,)


def test_the_newest_of_each_accelerator_counts_whoever_measured_it() -> None:
    old = fit(subject("cpu"), steps("cpu"))
    new = old.model_copy(update={"measured_at": "2026-02-01T12:00:00Z", "error": "0.02"})
    gpu = fit(subject("NVIDIA-L4"), steps("NVIDIA-L4"))
    other = new.model_copy(update={"model": "hf://org/other@0123abc"})
    for order in ((old, new, gpu, other, None), (None, other, gpu, new, old)):
        assert newest(order, spec("cpu")) == (gpu, new)


def test_steps_with_drafts_are_not_of_the_model_alone() -> None:
    assert can_be_measured(spec("cpu"))
    assert not can_be_measured(spec("cpu", speculation={"method": "NGram"}))


def serving(slower: float = 1.0, seed: int = 3, count: int = 100) -> list[Work]:
    """A server that takes `slower` times as long as SERVER."""
    time = WorkTime(*(slower * each for each in SERVER))
    return worked(time, noise=0.03, slow=3, count=count, seed=seed)


def with_server(slower: float = 1.0) -> MeasuredCalibration:
    found = fitted(subject("cpu"), steps("cpu"), NOW, serving(slower))
    assert found is not None
    return found


def test_what_servers_do_is_told_beside() -> None:
    without, found = fit(subject("cpu"), steps("cpu")), with_server()
    assert without.frontend is None
    assert "frontend" not in without.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert found.model_copy(update={"frontend": None}) == without
    assert found.frontend is not None
    time = frontend_time(found.frontend)
    assert time.request == pytest.approx(2e-3, rel=0.1)
    assert time.message + time.event + time.token == pytest.approx(2.2e-4, rel=0.1)
    assert 80 <= found.frontend.stretches <= 100
    spoken = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert spoken["frontend"].keys() >= {"request", "promptToken", "message", "event", "token"}
    there = resource(spec={"model": {"source": "builtin://tiny"}}, status={"calibration": spoken})
    assert there.status.calibration == found


def test_a_server_is_told_again_when_it_has_changed_and_steps_then_stay() -> None:
    first = with_server()
    after = replace(subject("cpu"), before=first)
    assert fitted(after, steps("cpu", seed=4), LATER, serving(seed=4)) is None
    slower = fitted(after, steps("cpu", seed=4), LATER, serving(1.5, seed=4))
    assert slower is not None
    assert slower.frontend != first.frontend
    assert slower.measured_at == LATER
    assert slower.model_copy(update={"frontend": first.frontend, "measured_at": NOW}) == first


@pytest.mark.parametrize("count", [0, 5])
def test_a_server_of_which_nothing_can_be_told_stays_as_it_was(count: int) -> None:
    first = with_server()
    after = replace(subject("cpu"), before=first)
    assert fitted(after, steps("cpu", seed=4), LATER, serving(3, count=count)) is None
    slower = fitted(after, steps("cpu", slower=1.5), LATER, serving(3, count=count))
    assert slower is not None
    assert slower.frontend == first.frontend
    # And one that was not known comes to steps that were.
    known = replace(subject("cpu"), before=fit(subject("cpu"), steps("cpu")))
    assert fitted(known, steps("cpu", seed=4), LATER, serving(count=count)) is None
    news = fitted(known, steps("cpu", seed=4), LATER, serving())
    assert news is not None
    assert news.frontend is not None


def test_the_next_plan_is_made_behind_it() -> None:
    asked = plan_request(spec("cpu"), TINY, (POOLS["cpu"],))
    made = {}
    for name, slower in (("none", None), ("some", 1.0), ("slow", 8.0)):
        found = fit(subject("cpu"), steps("cpu")) if slower is None else with_server(slower)
        request = replace(asked, accelerators=with_measured((), [found]))
        made[name] = plan(request, 300).plan
    none, some, slow = (made[name] for name in ("none", "some", "slow"))
    assert none is not None
    assert some is not None
    assert slow is not None
    assert none.predicted.ttft_p95 <= some.predicted.ttft_p95 < slow.predicted.ttft_p95
    assert slow.predicted.ttft_p95 > 1.2 * none.predicted.ttft_p95
