from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.accelerators import find
from plimsoll_planner.drafting import (
    DraftedStepTime,
    Drafter,
    bytes_of_block,
    memory_without_kv_cache,
    step_seconds,
)
from plimsoll_planner.inputs import DraftModel, Objectives
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.memory import block_bytes, without_kv_cache
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.planner import plan
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.simulation.planned import replica_model
from tests.unit.plimsoll_planner import models

TARGET = model_facts(models.LLAMA_31_8B)
SMALL = DraftModel(models.LLAMA_32_1B, 4, 8)
DRAFT = model_facts(models.LLAMA_32_1B)
DRAFTER = Drafter(DRAFT, 4, 8)


def shape(name: str = "H200", size: int = 1, cores: float | None = None) -> Shape:
    accelerator = find(name)
    assert accelerator is not None
    precision = "FP32" if name == "cpu" else "BF16"
    return Shape(accelerator, accelerator.name, precision, precision, size, cores)


@pytest.mark.parametrize("on", [shape(), shape(size=4), shape("cpu", 2, 4.0)], ids=str)
def test_the_first_rank_holds_the_draft_model_whole(on: Shape) -> None:
    one = replace(on, tensor_parallel_size=1)
    plain = without_kv_cache(TARGET, on, 512, 16)
    both = memory_without_kv_cache(TARGET, on, DRAFTER, 512, 16)
    assert both.weights - plain.weights == DRAFT.weights_bytes(on.weights)
    assert both.activations > plain.activations
    assert both.reserve == plain.reserve
    more = bytes_of_block(TARGET, on, DRAFTER) - block_bytes(TARGET, on)
    assert more == block_bytes(DRAFT, one)
    assert memory_without_kv_cache(TARGET, on, None, 512, 16) == plain
    assert bytes_of_block(TARGET, on, None) == block_bytes(TARGET, on)


def test_beside_a_quantized_model_drafts_are_in_their_own_format() -> None:
    on = replace(shape(), weights="INT4")
    plain = without_kv_cache(TARGET, on, 512, 16)
    both = memory_without_kv_cache(TARGET, on, DRAFTER, 512, 16)
    assert both.weights - plain.weights == DRAFT.weights_bytes("BF16")
    assert step_seconds(TARGET, on, DRAFTER).decode(1, 100) > step_time(TARGET, on).decode(1, 100)


def test_rows_of_logits_grow_by_the_drafts_of_steps_that_have_some() -> None:
    row = 3 * 4 * TARGET.vocab_size
    few = replace(DRAFTER, max_sequences=2)
    saved = memory_without_kv_cache(TARGET, shape(), DRAFTER, 512, 16).activations
    saved -= memory_without_kv_cache(TARGET, shape(), few, 512, 16).activations
    assert saved == 6 * 4 * row


@pytest.mark.parametrize("on", [shape(), shape("cpu", 1, 4.0)], ids=str)
def test_each_draft_takes_a_step_of_the_draft_model(on: Shape) -> None:
    target, draft = step_time(TARGET, on), step_time(DRAFT, on)
    step = step_seconds(TARGET, on, DRAFTER)
    decode = step.decode(4, 1000)
    assert decode >= target.decode(4, 1000) + 4 * draft.decode(4, 1000)
    # What the model checks is five tokens a sequence.
    checked = target(20, 20, 4020, 20_000)
    assert decode == pytest.approx(checked + 4 * draft.decode(4, 1000), rel=0.02)
    assert step_seconds(TARGET, on, None) == target


@pytest.mark.parametrize("on", [shape(), shape(size=2), shape("cpu", 1, 4.0)], ids=str)
def test_drafts_that_are_looked_up_take_what_checking_them_takes(on: Shape) -> None:
    looked_up = Drafter(None, 4, 8)
    target, step = step_time(TARGET, on), step_seconds(TARGET, on, looked_up)
    assert step.decode(4, 1000) == target(20, 20, 4016, 20_000)
    assert step.decode(20, 1000) == target(20 + 32, 20 + 32, 20_032, 20_000 + 32_000)
    plain = without_kv_cache(TARGET, on, 512, 16)
    checked = memory_without_kv_cache(TARGET, on, looked_up, 512, 16)
    assert checked.weights == plain.weights
    assert checked.activations - plain.activations == 8 * 4 * 3 * 4 * TARGET.vocab_size
    assert bytes_of_block(TARGET, on, looked_up) == block_bytes(TARGET, on)
    drafted = step_seconds(TARGET, on, DRAFTER)
    assert target.decode(4, 1000) < step.decode(4, 1000) < drafted.decode(4, 1000)


def test_the_first_rank_on_cpu_drafts_with_its_share_of_the_cores() -> None:
    whole, shared = (step_seconds(TARGET, shape("cpu", n, 4.0), DRAFTER) for n in (1, 2))
    assert isinstance(whole, DraftedStepTime)
    assert isinstance(shared, DraftedStepTime)
    assert shared.draft == step_time(DRAFT, shape("cpu", 1, 2.0))
    assert whole.draft == step_time(DRAFT, shape("cpu", 1, 4.0))


@settings(max_examples=50, deadline=None)
@given(
    sequences=st.integers(1, 300),
    prompt=st.integers(0, 4000),
    context=st.integers(1, 4000),
    most=st.integers(1, 64),
    count=st.integers(1, 16),
)
def test_no_step_takes_longer_than_is_counted(
    sequences: int, prompt: int, context: int, most: int, count: int
) -> None:
    """Whether it has drafts or, for its many sequences, none; and more sequences take longer."""
    step = step_seconds(TARGET, shape(), Drafter(DRAFT, count, most))
    target, draft = step_time(TARGET, shape()), step_time(DRAFT, shape())
    decoding = sequences * context
    pairs = decoding + prompt * prompt / 2
    load = (sequences + prompt, sequences, decoding + prompt, pairs)
    counted = step(*load)
    drafts = count * sequences if sequences <= most else 0
    engine = draft(*load)
    if drafts:
        engine += (count - 1) * draft.decode(sequences, context)
    engine += target(
        load[0] + drafts, load[1] + drafts, load[2] + drafts, load[3] + drafts * context
    )
    assert counted >= engine * (1 - 1e-9)
    assert step.decode(sequences + 1, context) >= step.decode(sequences, context)


def test_a_plan_with_a_draft_model_has_less_cache_and_promises_more_time() -> None:
    request = models.request_for(models.LLAMA_31_8B, models.H200_NODE)
    plain, drafted = plan(request).plan, plan(replace(request, draft=SMALL)).plan
    assert plain is not None
    assert drafted is not None
    assert drafted.kv_cache_tokens < plain.kv_cache_tokens
    block = bytes_of_block(TARGET, shape(size=drafted.tensor_parallel_size), DRAFTER)
    assert drafted.kv_cache_bytes == drafted.kv_cache_tokens // 16 * block
    assert drafted.predicted.tpot_p95 > plain.predicted.tpot_p95
    simulated = replica_model(drafted, request.model, draft=SMALL)
    undrafted = replica_model(drafted, request.model)
    assert simulated.step.decode(1, 1000) > undrafted.step.decode(1, 1000)
    assert simulated.frontend is undrafted.frontend is None
    known = FrontendTime(1e-3, 0.0, 1e-4, 1e-4, 0.0, 0.0, 0.0)
    h200 = replace(shape().accelerator, frontend=known)
    for draft in (None, SMALL):
        behind = replica_model(drafted, request.model, (h200,), draft).frontend
        assert behind is not None
        assert replace(behind, latency=0.0) == known


def test_an_infeasible_plan_says_where_it_would_do_without_drafts() -> None:
    request = models.request_for(models.LLAMA_31_8B, models.H200_NODE)
    plain, slow = plan(request), plan(replace(request, draft=SMALL))
    assert plain.plan is not None
    assert slow.plan is not None
    tpot = 1.25 * plain.plan.predicted.tpot_p95
    assert tpot < slow.plan.predicted.tpot_p95
    promise = Objectives(tpot_p95=tpot)
    pin = replace(request.pin, max_num_seqs=plain.plan.max_num_seqs)
    found = plan(replace(request, draft=SMALL, objectives=promise, pin=pin))
    assert not found.feasible
    assert "speculation.method: Disabled" in [item.change for item in found.alternatives]


def test_a_model_that_fits_only_without_its_draft_model() -> None:
    pool = replace(models.H200_NODE, accelerator="NVIDIA-L4", count=1)
    request = replace(models.request_for(models.LLAMA_31_8B, pool), max_context_length=4096)
    assert plan(request).plan is not None
    too_large = plan(replace(request, draft=DraftModel(models.LLAMA_31_8B, 4, 8)))
    assert too_large.plan is None
    reasons = [item.rejected_because for item in too_large.candidates]
    assert any("the model and its draft model need" in reason for reason in reasons), reasons
