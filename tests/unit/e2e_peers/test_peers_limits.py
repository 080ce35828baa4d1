"""The best that a machine allows a workload."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.peers.engine import Precision
from e2e.peers.limits import limit, work_of
from e2e.peers.models import MODELS
from e2e.peers.page import HEADLINES
from e2e.peers.roofline import Roofline, Work

FACTS = MODELS["135m"].facts
ROOFLINE = Roofline(40e9, 7e11, 14e11)
BF16, INT8 = Precision.BF16, Precision.INT8


def test_the_work_of_each_workload() -> None:
    assert work_of("W1") == Work(128, 128, 1, 128)
    assert work_of("W2") == Work(1024, 1, 1, 1)
    assert work_of("W3") == Work(7195, 4757, 32, 249)
    # A prefix of 512 is computed once for all 32.
    assert work_of("W4") == Work(512 + 32 * 32, 32 * 32, 32, 32)


def test_a_prompt_is_bound_by_products_and_a_token_by_memory() -> None:
    prompt = limit(FACTS, "W2", "prefill tokens", BF16, ROOFLINE)
    assert prompt is not None
    assert prompt == pytest.approx(ROOFLINE.prefill(FACTS, 1024, BF16))
    assert limit(FACTS, "W2", "TTFT p50", BF16, ROOFLINE) == pytest.approx(1024 / prompt)
    slow = Roofline(1e9, 7e11, 14e11)
    token = slow.tpot(FACTS, BF16)
    assert limit(FACTS, "W1", "seconds in all", BF16, slow) == pytest.approx(128 * token)
    assert limit(FACTS, "W1", "TTFT p50", BF16, slow) == pytest.approx(token)
    assert limit(FACTS, "W1", "TPOT p50", INT8, slow) == pytest.approx(token / 2)


def test_where_nothing_is_known() -> None:
    assert limit(FACTS, "W1", "TPOT p50", BF16, None) is None
    assert limit(FACTS, "W3", "TPOT p50", BF16, ROOFLINE) is None
    assert limit(FACTS, "W5r2", "TTFT p99", BF16, ROOFLINE) is None
    assert limit(FACTS, "W5r2", "TPOT p99", BF16, ROOFLINE) == ROOFLINE.tpot(FACTS, BF16)


def test_every_table_has_a_limit() -> None:
    for kind, figures in HEADLINES.items():
        assert any(limit(FACTS, kind, each, BF16, ROOFLINE) for each in figures), kind


@given(st.integers(1, 9000), st.integers(1, 64), st.integers(1, 500), st.sampled_from(Precision))
def test_more_work_takes_no_less(
    prompts: int, requests: int, longest: int, precision: Precision
) -> None:
    work = Work(prompts, requests * longest, requests, longest)
    more = work._replace(prompts=prompts + 1)
    longer = work._replace(outputs=work.outputs + 1, longest=longest + 1)
    least = ROOFLINE.seconds(FACTS, work, precision)
    assert 0 < least <= ROOFLINE.seconds(FACTS, more, precision)
    assert least <= ROOFLINE.seconds(FACTS, longer, precision)
