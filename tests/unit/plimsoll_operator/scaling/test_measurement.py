"""Figures of a window are those of what was counted in it, whatever replicas come and go."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.engines.engine_client import parse_sample
from plimsoll_operator.scaling.measurement import WINDOW_SECONDS, Counters, Look, Window
from tests.unit.plimsoll_operator.counted import counted


def look(at: float, requests: float, *, waiting: float = 0.0, prompt: float = 100.0) -> Look:
    return Look(at, counted(requests, prompt=prompt, output=50.0, waiting=waiting))


def window(*looks: tuple[str, Look]) -> Window:
    found = Window()
    for replica, item in looks:
        found = found.with_looks([(replica, item)], item.at)
    return found


def test_figures_are_of_the_time_between_looks() -> None:
    found = window(("a", look(0, 1000)), ("a", look(300, 1600))).figures()
    assert found is not None
    assert (found.requests, found.seconds, found.requests_per_second) == (600, 300, 2)
    assert (found.prompt_tokens, found.output_tokens) == (100, 50)
    assert found.ttft_p95 == pytest.approx(0.195)
    assert found.tpot_p95 == pytest.approx(0.0195)


def test_what_waits_has_arrived() -> None:
    found = window(("a", look(0, 0)), ("a", look(300, 600, waiting=300))).figures()
    assert found is not None
    assert found.requests_per_second == 3


def test_too_little_says_nothing() -> None:
    assert Window().figures() is None
    assert window(("a", look(0, 0))).figures() is None
    assert window(("a", look(0, 0)), ("a", look(60, 1000))).figures() is None
    assert window(("a", look(0, 0)), ("a", look(600, 50))).figures() is None


def test_a_restart_begins_anew() -> None:
    found = window(("a", look(0, 1000)), ("a", look(60, 5)), ("a", look(300, 245))).figures()
    assert found is not None
    assert (found.requests, found.seconds) == (240, 240)


def test_what_a_replica_that_ended_did_counts_until_it_is_old() -> None:
    both = window(("a", look(0, 0)), ("a", look(200, 400)), ("b", look(210, 0)))
    found = both.with_looks([("b", look(400, 200))], 400).figures()
    assert found is not None
    assert (found.requests, found.seconds, found.requests_per_second) == (600, 400, 1.5)
    later = both.with_looks([("b", look(1100, 2000))], 200 + WINDOW_SECONDS + 1)
    assert set(later.looks) == {"b"}


@settings(max_examples=30)
@given(steps=st.lists(st.integers(0, 40), min_size=30, max_size=200))
def test_the_window_is_bounded_and_exact(steps: list[int]) -> None:
    found, total = Window(), 0
    at: dict[float, int] = {}
    for number, step in enumerate(steps):
        total += step
        now = 30.0 * number
        at[now] = total
        found = found.with_looks([("a", look(now, total))], now)
        kept = found.looks["a"]
        assert len(kept) <= 13
        assert kept[-1].at == now
        assert kept[0].at >= now - WINDOW_SECONDS
        assert [item.at for item in kept] == sorted({item.at for item in kept})
    figures = found.figures()
    first = found.looks["a"][0].at
    ended = total - at[first]
    if figures is not None:
        assert figures.requests == ended
        assert figures.requests_per_second == pytest.approx(ended / figures.seconds)
    else:
        assert ended < 100


def test_an_engines_metrics_become_counters() -> None:
    lines = ["vllm:num_requests_running 3", "vllm:num_requests_waiting 2"]
    lines += ["vllm:kv_cache_usage_perc 0.5"]
    for name in (
        "vllm:request_prompt_tokens",
        "vllm:request_generation_tokens",
        "vllm:time_to_first_token_seconds",
        "vllm:request_time_per_output_token_seconds",
    ):
        lines += [f'{name}_bucket{{le="1"}} 4', f'{name}_bucket{{le="+Inf"}} 5']
        lines += [f"{name}_sum 10", f"{name}_count 5"]
    sample = parse_sample("pod", "\n".join(lines) + "\n", 1.0)
    counters = sample.counters
    assert isinstance(counters, Counters)
    assert counters.unfinished == 5
    assert counters.prompts.count == counters.per_token.count == 5
    assert counters.outputs.total == 10
    assert counters.first_token.buckets[1.0] == 4
