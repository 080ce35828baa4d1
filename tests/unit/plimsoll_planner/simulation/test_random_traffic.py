from collections import Counter
from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.performance.traffic import squared_variation
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.random_traffic import RandomTraffic, Sender

CHAT = Workload(1, Lengths(500, 1500), Lengths(200, 500))


def drawn(traffic: RandomTraffic, count: int, rate: float = 4.0, seed: int = 1) -> list[Arrival]:
    return list(islice(traffic.arrivals(rate, 8192, seed), count))


@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0, 3.0])
def test_gaps_have_the_rate_and_the_variation(variation: float) -> None:
    times = [each.at for each in drawn(RandomTraffic(CHAT, variation), 20_000)]
    gaps = [after - before for before, after in pairwise(times)]
    assert fmean(gaps) == pytest.approx(0.25, rel=0.06)
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(variation, rel=0.06)


def test_a_poisson_process_has_as_much_variance_as_mean_in_its_counts() -> None:
    times = [each.at for each in drawn(RandomTraffic(CHAT), 20_000)]
    counts = Counter(int(at) for at in times[:-1])
    numbers = [counts[second] for second in range(int(times[-1]))]
    assert pstdev(numbers) ** 2 / fmean(numbers) == pytest.approx(1, rel=0.06)


def test_lengths_have_the_mean_and_the_percentile() -> None:
    found = drawn(RandomTraffic(CHAT), 20_000)
    prompts = sorted(each.prompt_tokens for each in found)
    outputs = sorted(each.output_tokens for each in found)
    assert fmean(prompts) == pytest.approx(500, rel=0.03)
    assert prompts[19_000] == pytest.approx(1500, rel=0.05)
    assert fmean(outputs) == pytest.approx(200, rel=0.03)
    assert outputs[19_000] == pytest.approx(500, rel=0.05)


def test_another_rate_brings_the_same_requests_at_other_times() -> None:
    slow, fast = drawn(RandomTraffic(CHAT), 50, 2.0), drawn(RandomTraffic(CHAT), 50, 8.0)
    assert [each._replace(at=0.0) for each in slow] == [each._replace(at=0.0) for each in fast]
    assert [each.at for each in slow] == pytest.approx([4 * each.at for each in fast])


def test_a_seed_decides_everything() -> None:
    traffic = RandomTraffic(CHAT, 2.0, (Sender("a"), Sender("b")))
    assert drawn(traffic, 50) == drawn(traffic, 50)
    assert drawn(traffic, 50) != drawn(traffic, 50, seed=2)


def test_senders_have_their_shares() -> None:
    senders = (Sender("a", 0, 3.0), Sender("b", -1, 1.0))
    found = drawn(RandomTraffic(CHAT, senders=senders), 8000)
    counts = Counter((each.tenant, each.priority) for each in found)
    assert set(counts) == {("a", 0), ("b", -1)}
    assert counts["a", 0] / 8000 == pytest.approx(0.75, abs=0.02)


def test_a_shared_prefix_begins_every_prompt() -> None:
    workload = Workload(1, Lengths(500, 1500), Lengths(200, 500), shared_prefix_tokens=100)
    found = drawn(RandomTraffic(workload), 20)
    prompts = [each.prompt(-1 - number) for number, each in enumerate(found)]
    assert [len(prompt) for prompt in prompts] == [each.prompt_tokens for each in found]
    for one, other in pairwise(prompts):
        shared = min(100, len(one), len(other))
        assert one[:shared] == other[:shared]
        assert not set(one[100:]) & set(other[100:])


@given(
    st.builds(Lengths, st.integers(1, 5000), st.integers(1, 20_000)),
    st.builds(Lengths, st.integers(1, 5000), st.integers(1, 20_000)),
    st.integers(2, 4096),
    st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_every_request_fits_the_context(
    prompt: Lengths, output: Lengths, limit: int, seed: int
) -> None:
    traffic = RandomTraffic(Workload(1, prompt, output, 64))
    for each in islice(traffic.arrivals(1.0, limit, seed), 30):
        assert each.prompt_tokens >= 1
        assert each.output_tokens >= 1
        assert each.prompt_tokens + each.output_tokens <= limit


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 requests per second"):
        next(RandomTraffic(CHAT).arrivals(rate, 100, 0))


@pytest.mark.parametrize("variation", [-0.1, float("inf"), float("nan")])
def test_a_variation_that_is_none_is_refused(variation: float) -> None:
    with pytest.raises(ValueError, match="variation of gaps"):
        next(RandomTraffic(CHAT, variation).arrivals(1.0, 100, 0))


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_strata_have_the_declared_means(seed: int) -> None:
    found = drawn(RandomTraffic(CHAT, stratum=250), 1000, seed=seed)
    for first in range(0, 1000, 250):
        part = found[first : first + 250]
        since = found[first - 1].at if first else 0.0
        assert (part[-1].at - since) / 250 == pytest.approx(0.25, rel=0.035)
        assert fmean(each.prompt_tokens for each in part) == pytest.approx(500, rel=0.06)
        assert fmean(each.output_tokens for each in part) == pytest.approx(200, rel=0.1)


def test_what_is_underway_has_longer_answers_and_any_part_of_them_left() -> None:
    """A moment meets a lognormal answer by its length: `mean · (1 + cv²)` long, half of it left."""
    found = list(RandomTraffic(CHAT).underway(20_000, 8192, 1))
    squared = squared_variation(CHAT.output_tokens)
    longer = 200 * (1 + squared)
    assert fmean(each.output_tokens for each in found) == pytest.approx(longer / 2, rel=0.05)
    assert fmean(each.prompt_tokens for each in found) == pytest.approx(500 + longer / 2, rel=0.05)
    assert {each.at for each in found} == {0.0}


def test_strata_leave_distributions_as_they_are() -> None:
    found = drawn(RandomTraffic(CHAT, stratum=500), 20_000)
    prompts = sorted(each.prompt_tokens for each in found)
    assert prompts[19_000] == pytest.approx(1500, rel=0.02)
    gaps = [after.at - before.at for before, after in pairwise(found)]
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(1, rel=0.02)
    # What follows what is left to chance.
    together = sum(a * b for a, b in pairwise(gaps)) / (len(gaps) - 1)
    assert together / fmean(gaps) ** 2 == pytest.approx(1, abs=0.03)
    assert found != drawn(RandomTraffic(CHAT, stratum=500), 20_000, seed=2)
