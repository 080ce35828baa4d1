"""The page of plans is what the planner says now."""

import pytest

from docs.plots import plans
from tests.unit.plimsoll_planner.published import NAMES

AGAIN = f"run: {plans.AGAIN}"
SOME = NAMES[4::13]
"""Of the models, as planning all of them takes half a minute."""


@pytest.fixture(scope="module")
def cells() -> dict[str, list[plans.Cell]]:
    return {model: [plans.cell(model, name) for name in plans.ACCELERATORS] for model in SOME}


def written() -> list[str]:
    """The lines of the table, the first on the page."""
    table = plans.PAGE.read_text(encoding="utf-8").partition("\n|")[2].partition("\n\n")[0]
    return f"|{table}".splitlines()


def test_every_model_has_its_row() -> None:
    rows = [line for line in written() if line.startswith("| ")]
    assert len(NAMES) >= 50
    assert len(plans.ACCELERATORS) == 10
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows[2:]] == list(NAMES)


def test_the_page_is_the_template_with_its_table() -> None:
    rows = written()
    assert list(plans.head()) == rows[:3]
    assert plans.PAGE.read_text(encoding="utf-8") == plans.page(rows), AGAIN


def test_rows_are_what_the_planner_says(cells: dict[str, list[plans.Cell]]) -> None:
    lines = written()
    for model, found in cells.items():
        assert plans.row(model, found) in lines, AGAIN


def test_no_plan_reads_faster_than_the_memory(cells: dict[str, list[plans.Cell]]) -> None:
    promised = plans.OBJECTIVES.tpot_p95 or 0.0
    for cell in (one for row in cells.values() for one in row if one.result.feasible):
        assert cell.least_tpot <= cell.tpot < promised, cell
