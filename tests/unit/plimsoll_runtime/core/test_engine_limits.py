"""Limits that contradict each other are refused with the way out."""

from typing import Any

import pytest

from plimsoll_runtime.core.limits import EngineLimits, LiveLimits

GOOD: dict[str, Any] = {
    "max_num_seqs": 4,
    "max_num_batched_tokens": 8,
    "max_model_len": 64,
    "num_blocks": 4,
    "block_size": 16,
}


def test_good_limits_are_kept() -> None:
    assert EngineLimits(**GOOD).num_blocks == 4


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_limit_is_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        EngineLimits(**{**GOOD, name: 0})


def test_a_sequence_must_fit_the_cache() -> None:
    with pytest.raises(ValueError, match="smaller than max_model_len 65"):
        EngineLimits(**{**GOOD, "max_model_len": 65})


def test_every_sequence_must_get_its_token() -> None:
    with pytest.raises(ValueError, match="max_num_batched_tokens 3 is smaller than max_num_seqs 4"):
        EngineLimits(**{**GOOD, "max_num_batched_tokens": 3})


@pytest.mark.parametrize(
    ("budget", "threshold", "share"), [(8, None, 4), (9, None, 5), (4, None, 2), (8, 1, 1)]
)
def test_a_long_prompts_share_is_half_a_step_unless_set(
    budget: int, threshold: int | None, share: int
) -> None:
    limits = {**GOOD, "max_num_batched_tokens": budget}
    assert EngineLimits(**limits, long_prefill_token_threshold=threshold).prefill_share == share


def test_a_long_prompts_share_is_positive() -> None:
    with pytest.raises(ValueError, match="long_prefill_token_threshold must be at least 1, not 0"):
        EngineLimits(**GOOD, long_prefill_token_threshold=0)


def test_live_limits_begin_with_those_of_the_start() -> None:
    limits = EngineLimits(**GOOD)
    assert limits.live == LiveLimits(4, 8, 4)
    limits.check_live(limits.live)
    EngineLimits(**{**GOOD, "max_model_len": 30}).check_live(LiveLimits(1, 1, 2))


@pytest.mark.parametrize(
    ("live", "message"),
    [
        (LiveLimits(5, 8, 4), "max_num_seqs 5 is more than the 4 that the engine was started"),
        (LiveLimits(4, 9, 4), "max_num_batched_tokens 9 is more than the 8"),
        (LiveLimits(4, 8, 5), "num_usable_blocks 5 is more than the 4"),
        (LiveLimits(0, 8, 4), "max_num_seqs must be at least 1, not 0"),
        (LiveLimits(4, 0, 4), "max_num_batched_tokens must be at least 1, not 0"),
        (LiveLimits(4, 8, 0), "num_usable_blocks must be at least 1, not 0"),
        (LiveLimits(4, 3, 4), "max_num_batched_tokens 3 is smaller than max_num_seqs 4"),
        (LiveLimits(4, 8, 3), "KV cache of 48 tokens is smaller than max_model_len 64"),
    ],
)
def test_live_limits_that_cannot_be_are_refused(live: LiveLimits, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineLimits(**GOOD).check_live(live)
