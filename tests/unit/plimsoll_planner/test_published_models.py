"""What the planner derives from published configurations against what is published of the models.

Sources of every figure: tests/data/README.md.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from plimsoll_planner.model_facts import CHECKPOINT, ModelFacts
from plimsoll_planner.models.gguf import MIXTURES
from plimsoll_planner.models.weights import Matrix, Part
from plimsoll_planner.planner import plan
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models_table import PAGE, page_with_tables
from tests.unit.plimsoll_planner.published import NAMES, config, facts, rows

SIZES = rows("models_published.csv")
BYTES = rows("models_bytes.csv")
METADATA = 9_000_000
"""Most bytes that a GGUF file has besides its tensors: tokenizer and hyperparameters."""


def _scales(matrices: tuple[Matrix, ...]) -> int:
    """FP8 checkpoints have one scale for each block of 128 × 128."""
    return sum(
        each.count * -(-each.rows // 128) * -(-each.columns // 128)
        for each in matrices
        if each.part in (Part.ATTENTION, Part.MLP, Part.EXPERT)
    )


def _last_layer(of: ModelFacts) -> tuple[Matrix, ...]:
    return of.model.layers[-1].matrices(of.hidden_size)


def _mtp(of: ModelFacts) -> int:
    """A layer that drafts: like the last one, after a projection of two inputs, and three norms."""
    layer = sum(matrix.parameters for matrix in _last_layer(of))
    return layer + 2 * of.hidden_size**2 + 3 * of.hidden_size


def _positions(given: Mapping[str, Any]) -> int:
    return int(given.get("n_positions") or given["max_position_embeddings"])


def _rotary(of: ModelFacts, given: Mapping[str, Any]) -> int:
    width = of.hidden_size // of.attention_heads
    return of.layers * int(width * given.get("rotary_pct", 1.0)) // 2


ALSO: Mapping[str, Callable[[ModelFacts, Mapping[str, Any]], int]] = {
    "head": lambda of, _: of.head_parameters,
    "masks": lambda of, given: of.layers * _positions(given) ** 2,
    "rotary": _rotary,
    "scales": lambda of, _: _scales(of.matrices),
    "mtp": lambda of, _: _mtp(of),
    "mtp-embeddings": lambda of, _: 2 * of.head_parameters,
    "mtp-scales": lambda of, _: _scales(_last_layer(of)),
    "mtp-index": lambda of, given: (
        given["index_n_heads"] * given["index_head_dim"] * given["q_lora_rank"]
        + (given["index_n_heads"] + given["index_head_dim"]) * of.hidden_size
        + 2 * given["index_head_dim"]
    ),
}
"""What the hub's totals count besides the weights that an engine loads."""


@pytest.mark.parametrize(
    "row", [row for row in SIZES if row["parameters"]], ids=lambda row: str(row["model"])
)
def test_parameters_are_those_published(row: dict[str, str]) -> None:
    of, also = facts(row["model"]), row["also_counted"].split()
    published = int(row["parameters"])
    if also == ["encoder"]:
        # Of a kind that the planner does not know: told in docs/models.md.
        assert 0 < published / of.parameters - 1 < 0.009
        return
    extra = sum(ALSO[name](of, config(row["model"])) for name in also)
    assert of.parameters + extra == published


def test_the_table_is_complete() -> None:
    assert sorted(row["model"] for row in SIZES) == NAMES
    assert sum(1 for row in SIZES if row["parameters"]) >= 75


@pytest.mark.parametrize(
    "row", [row for row in SIZES if row["active_billions"]], ids=lambda row: str(row["model"])
)
def test_active_parameters_are_those_published(row: dict[str, str]) -> None:
    of, text = facts(row["model"]), row["active_billions"]
    active = of.active_parameters
    if text.endswith("*"):  # counted without the input embedding
        active -= 0 if of.model.tied else of.head_parameters
    assert of.active_parameters < of.parameters
    assert active / 1e9 == pytest.approx(float(text.rstrip("*")), rel=0.045)


@pytest.mark.parametrize("row", BYTES, ids=lambda row: f"{row['model']} {row['precision']}")
def test_bytes_are_those_published(row: dict[str, str]) -> None:
    derived, published = facts(row["model"]).weights_bytes(row["precision"]), int(row["bytes"])
    if row["kind"] == "index":
        assert row["precision"] == CHECKPOINT
        assert derived == published
    else:
        assert row["precision"] in MIXTURES
        assert derived < published < derived + METADATA


def _one_of_each_architecture() -> list[str]:
    return list({facts(name).model.architecture: name for name in NAMES}.values())


@pytest.mark.parametrize("name", _one_of_each_architecture())
def test_every_architecture_is_planned(name: str) -> None:
    of = facts(name)
    result = plan(models.request_for(of.model, models.H200_NODE, ttft=2.0, tpot=0.1))
    if result.plan is None:
        assert "of weights" in result.binding_constraint
        assert of.weights_bytes(CHECKPOINT) > 8 * 0.9 * 141e9 or not of.divides_into(8)
    else:
        fits = of.weights_bytes(CHECKPOINT) / result.plan.tensor_parallel_size
        assert fits < result.plan.memory_bytes


def test_the_documented_tables_are_what_is_derived() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_tables(page), "run python -m tests.unit.plimsoll_planner.models_table"
