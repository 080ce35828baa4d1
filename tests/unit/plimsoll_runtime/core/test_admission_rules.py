"""Who may enter, and how long the wait would be, from a snapshot."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.admission import (
    MAX_RETRY_AFTER,
    AdmissionRules,
    Demand,
    Load,
    Reason,
    judge,
    predicted_wait,
    queue_ahead,
    retry_after,
)
from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.queue import QueueCount

FAIR, PRIORITY, FCFS = SchedulingPolicy
LIMITS = LiveLimits(max_num_seqs=8, max_num_batched_tokens=108, num_usable_blocks=10_000)


def load(*waiting: QueueCount, **changes: Any) -> Load:
    """An engine that is full, whose steps take 0.1 s and whose answers have 40 tokens."""
    known: dict[str, Any] = {
        "num_running": 8,
        "mean_output_tokens": 40.0,
        "seconds_per_step": 0.1,
    }
    return Load(limits=LIMITS, block_size=16, waiting=waiting, **(known | changes))


def demand(tenant: str = "me", priority: int = 0, sequences: int = 1, **more: Any) -> Demand:
    return Demand(tenant, priority, sequences, 50 * sequences, **more)


def rules(length: int = 10, policy: SchedulingPolicy = FAIR, **more: Any) -> AdmissionRules:
    return AdmissionRules(length, policy=policy, **more)


def test_while_there_are_places_nobody_waits() -> None:
    assert predicted_wait(load(num_running=7), demand(), rules()) == 0
    assert predicted_wait(load(num_running=0), demand(sequences=8), rules()) == 0


def test_while_nothing_was_measured_nobody_is_turned_away() -> None:
    waiting = QueueCount("you", 0, 9, 1000)
    asked = demand(max_wait=0.001)
    assert predicted_wait(load(waiting, seconds_per_step=None), asked, rules()) == 0
    assert judge(load(waiting, seconds_per_step=None), asked, rules()) is None


def test_a_place_is_given_back_every_so_many_steps() -> None:
    """Eight places and answers of 40 tokens: one every 5 steps of 0.1 s."""
    assert predicted_wait(load(), demand(), rules()) == pytest.approx(0.5)
    assert predicted_wait(load(), demand(sequences=3), rules()) == pytest.approx(1.5)
    ahead = QueueCount("me", 0, 2, 0)
    assert predicted_wait(load(ahead), demand(), rules()) == pytest.approx(1.5)


def test_accepted_drafts_make_answers_shorter_in_steps_only() -> None:
    plain = predicted_wait(load(), demand(), rules())
    drafting = predicted_wait(load(mean_output_steps=20.0), demand(), rules())
    assert drafting == pytest.approx(plain / 2)
    # But no shorter in the cache: fewer of them fit than there are places.
    small = LIMITS._replace(num_usable_blocks=36)
    few = load(mean_output_steps=20.0, num_running=0)._replace(limits=small)
    one = predicted_wait(few, demand(sequences=8), rules())
    assert (
        one
        == predicted_wait(few._replace(mean_output_steps=40.0), demand(sequences=8), rules()) / 2
        > 0
    )


def test_the_prompts_ahead_take_what_running_sequences_leave_of_the_steps() -> None:
    """100 of 108 tokens: 1000 tokens are 10 steps."""
    ahead = QueueCount("me", 0, 1, 1000)
    full = predicted_wait(load(ahead), demand(), rules())
    assert full == pytest.approx(0.1 * (10 + 2 * 5))
    assert predicted_wait(load(ahead, mean_output_tokens=None), demand(), rules()) == 1.0


def test_a_small_cache_has_fewer_places() -> None:
    """Sequences of 50 and 40 tokens: 360 tokens of cache are four places."""
    four = load(num_running=4)._replace(limits=LIMITS._replace(num_usable_blocks=90), block_size=4)
    assert predicted_wait(four, demand(), rules()) == pytest.approx(1 * 40 / 4 * 0.1)
    six = four._replace(num_running=6)
    assert predicted_wait(six, demand(), rules()) == pytest.approx(1 * 40 / 6 * 0.1)


def test_another_tenants_flood_is_no_more_than_its_turns() -> None:
    flood = QueueCount("flood", 0, 100, 5000)
    own = QueueCount("me", 0, 3, 150)
    assert queue_ahead(load(flood, own), demand(), rules()) == (3 + 4, 150 + 200)
    assert queue_ahead(load(flood, own), demand(), rules(policy=FCFS)) == (103, 5150)
    few = QueueCount("few", 0, 2, 100)
    assert queue_ahead(load(few, own), demand(), rules()) == (3 + 2, 150 + 100)


def test_a_heavier_tenant_has_more_turns() -> None:
    flood = QueueCount("flood", 0, 100, 5000)
    weights = {"flood": 3.0}
    assert queue_ahead(load(flood), demand(), rules(tenant_weights=weights)) == (3, 150)
    weights = {"me": 2.0}
    assert queue_ahead(load(flood), demand(), rules(tenant_weights=weights)) == (0.5, 25)


def test_ones_own_less_urgent_requests_are_not_ahead() -> None:
    waiting = QueueCount("me", 5, 3, 150), QueueCount("me", -1, 1, 50)
    assert queue_ahead(load(*waiting), demand(), rules()) == (1, 50)


def test_where_priorities_are_trusted_the_more_urgent_are_ahead() -> None:
    waiting = (
        *(QueueCount("a", -1, 7, 700), QueueCount("a", 0, 5, 500), QueueCount("a", 1, 9, 900)),
        QueueCount("me", 0, 2, 200),
    )
    assert queue_ahead(load(*waiting), demand(), rules(policy=PRIORITY)) == (7 + 2 + 3, 1200)


def test_a_full_queue_turns_away_and_says_when_to_come_back() -> None:
    full = load(QueueCount("me", 0, 10, 1000))
    assert judge(load(QueueCount("me", 0, 9, 900)), demand(), rules()) is None
    rejection = judge(full, demand(), rules())
    assert rejection is not None
    assert rejection.reason is Reason.QUEUE_FULL
    assert rejection.retry_after == 1
    assert rejection.predicted_wait == pytest.approx(0.1 * (10 + 11 * 5))
    slow = full._replace(seconds_per_step=2.0)
    rejection = judge(slow, demand(), rules())
    assert rejection is not None
    assert rejection.retry_after == math.ceil(2.0 * (10 + 11 * 5) / 10)


def test_every_sequence_of_a_request_counts() -> None:
    assert judge(load(QueueCount("me", 0, 8, 800)), demand(sequences=2), rules()) is None
    assert judge(load(QueueCount("me", 0, 8, 800)), demand(sequences=3), rules()) is not None


def test_a_request_larger_than_the_queue_enters_when_its_tenant_does_not_wait() -> None:
    assert judge(load(), demand(sequences=20), rules()) is None
    assert judge(load(QueueCount("me", 0, 1, 1)), demand(sequences=20), rules()) is not None


def test_a_tenant_that_fills_the_queue_does_not_lock_out_another() -> None:
    full = load(QueueCount("flood", 0, 10, 1000))
    assert judge(full, demand("flood"), rules()) is not None
    assert judge(full, demand("me"), rules()) is None
    both = load(QueueCount("flood", 0, 10, 1000), QueueCount("me", 0, 5, 500))
    assert judge(both, demand("me"), rules()) is not None, "half the queue is its part"
    assert judge(full, demand("me"), rules(policy=FCFS)) is not None


def test_the_stricter_of_both_objectives_holds() -> None:
    waiting = load(QueueCount("me", 0, 3, 0))  # 2 s
    assert judge(waiting, demand(max_wait=2.5), rules(max_queue_wait=2.5)) is None
    for asked, allowed in ((1.0, None), (1.0, 9.0), (None, 1.0), (9.0, 1.0)):
        rejection = judge(waiting, demand(max_wait=asked), rules(max_queue_wait=allowed))
        assert rejection is not None
        assert rejection.reason is Reason.QUEUE_WAIT
        assert rejection.predicted_wait == pytest.approx(2.0)
        assert rejection.retry_after == 1


@pytest.mark.parametrize(
    ("seconds", "whole"),
    [(0, 1), (0.2, 1), (1, 1), (1.01, 2), (59.5, 60), (math.inf, MAX_RETRY_AFTER)],
)
def test_retry_after_is_whole_seconds(seconds: float, whole: int) -> None:
    assert retry_after(seconds) == whole


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_queue_len": 0}, "max_queue_len must be at least 1, not 0"),
        ({"max_queue_len": 1, "max_queue_wait": 0.0}, "max_queue_wait must be above 0"),
        ({"max_queue_len": 1, "max_queue_wait": math.nan}, "max_queue_wait must be above 0"),
        ({"max_queue_len": 1, "tenant_weights": {"a": -1.0}}, "weight of tenant 'a' must be"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdmissionRules(**wrong)


counts = st.lists(
    st.builds(
        QueueCount,
        st.sampled_from("abc"),
        st.integers(-2, 2),
        st.integers(1, 50),
        st.integers(1, 5000),
    ),
    max_size=9,
    unique_by=lambda each: (each.tenant, each.priority),
)


@given(counts, st.sampled_from(SchedulingPolicy), st.sampled_from("abcd"), st.integers(-2, 2))
def test_no_more_is_ahead_than_waits_and_more_waiting_is_no_shorter_wait(
    waiting: list[QueueCount], policy: SchedulingPolicy, tenant: str, priority: int
) -> None:
    rule, asked = rules(100, policy), demand(tenant, priority)
    ahead = queue_ahead(load(*waiting), asked, rule)
    assert ahead.num_sequences <= sum(each.num_requests for each in waiting) + 1e-9
    assert ahead.num_tokens <= sum(each.num_tokens for each in waiting) + 1e-6
    before = predicted_wait(load(*waiting), asked, rule)
    more = [QueueCount(*each[:2], 2 * each.num_requests, 2 * each.num_tokens) for each in waiting]
    assert 0 <= before <= predicted_wait(load(*more), asked, rule) + 1e-9
