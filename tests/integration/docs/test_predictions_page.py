"""The page and picture of predictions are what the performance model says now."""

from dataclasses import replace

import pytest

from docs.plots import left_out, predictions
from plimsoll_planner.model_facts import ModelFacts
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner import published_serving
from tests.unit.plimsoll_planner.measured import Point, points
from tests.unit.plimsoll_planner.published_serving import Published, predicted, published

AGAIN = f"run: {predictions.AGAIN}"


@pytest.fixture(scope="module")
def measured() -> list[Point]:
    return points()


@pytest.fixture(scope="module")
def others() -> list[Published]:
    return published()


def test_the_page_states_these_figures(measured: list[Point], others: list[Published]) -> None:
    assert predictions.PAGE.read_text(encoding="utf-8") == predictions.page(measured, others), AGAIN


def test_the_picture_shows_these_figures(measured: list[Point], others: list[Published]) -> None:
    drawn = predictions.SVG.read_text(encoding="utf-8")
    assert drawn == predictions.picture(measured, others), AGAIN


def test_others_figures_are_met_within_what_the_page_says(others: list[Published]) -> None:
    """None of them was fitted on; at least 20 rows, of 5 GPUs, 5 models and 4 engines."""
    errors = sorted(abs(row.error) for row in others)
    assert len(errors) >= 20
    for field, least in (("gpu", 5), ("model", 5), ("engine", 4)):
        assert len({row.row[field] for row in others}) >= least
    for part in ("SGLang", "vLLM", "TensorRT-LLM", "MLPerf"):
        assert sum(part in row.row["engine"] for row in others) >= 4
    assert all(row.row["source"].startswith("https://") for row in others)
    assert errors[len(errors) // 2] <= 0.20
    assert sum(error <= 0.3 for error in errors) >= 0.65 * len(errors)


def test_mlperf_hangs_on_a_prompt_that_no_log_tells(others: list[Published]) -> None:
    """What the page says of TensorRT-LLM's rows, with 155 tokens and with 300."""
    told = [r for r in others if r.row["engine"].startswith("TensorRT-LLM") and _mlperf(r)]
    assert [min(r.error for r in told), max(r.error for r in told)] == pytest.approx(
        [0.12, 0.38], abs=0.01
    )
    longer = [predicted(r.row | {"prompt_tokens": "300"}) / r.value - 1 for r in told]
    assert [min(longer), max(longer)] == pytest.approx([-0.11, 0.08], abs=0.01)


def _mlperf(row: Published) -> bool:
    return "MLPerf" in row.row["engine"]


def test_old_kernels_read_a_kv_head_for_each_query_head(
    others: list[Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page says of Llama-2-70B, which has eight query heads to a KV head."""

    def of_then(facts: ModelFacts, shape: Shape) -> StepTime:
        step = step_time(facts, shape)
        return replace(step, per_context=8 * step.per_context)

    def rows(found: list[Published]) -> list[float]:
        wanted = ("TensorRT-LLM 0.6", "H100", "Llama-2-70B")
        return [r.error for r in found if (r.row["engine"], r.row["gpu"], r.row["model"]) == wanted]

    monkeypatch.setattr(published_serving, "step_time", of_then)
    assert [min(rows(others)), max(rows(others))] == pytest.approx([0.18, 0.98], abs=0.02)
    counted = rows(published())
    assert [min(counted), max(counted)] == pytest.approx([-0.19, -0.04], abs=0.02)


def test_a_model_that_was_left_out_is_predicted_from_the_others() -> None:
    by_model = {found.model: found for found in left_out.saved()}
    assert by_model["Qwen3-32B"].median <= 0.12
    assert by_model["Llama-3.1-70B"].median <= 0.12
    kept = by_model["nothing"].constants
    for name in ("Qwen3-32B", "Llama-3.1-70B"):
        for one, all_of_them in zip(by_model[name].constants[:3], kept[:3], strict=True):
            assert one == pytest.approx(all_of_them, rel=0.15)


def test_no_constants_rank_the_fastest_model_as_asked() -> None:
    """What the page says of Llama-3.1-8B: fitted on these points alone, they are still mixed up."""
    alone = {found.model: found for found in left_out.saved()}[f"all but {left_out.ALONE}"]
    assert alone.points == 46
    assert alone.median <= 0.03
    assert 0.85 <= alone.rank < 0.92
