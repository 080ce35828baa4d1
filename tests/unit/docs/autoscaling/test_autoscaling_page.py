"""The page of autoscaling is made from its results, and its results from the code."""

import pytest

from docs.plots.autoscaling.cases import case, case_names
from docs.plots.autoscaling.page import PAGE, SVG, as_good, best, by_case, page, picture
from docs.plots.autoscaling.results import Row, row_of, saved
from docs.plots.autoscaling.sweep import FIXED, OURS, PEERS, entries

AGAIN = "PYTHONPATH=operator:runtime:. python -m docs.plots.autoscaling --ours"


def test_the_page_and_the_picture_are_of_the_results() -> None:
    rows = saved()
    assert PAGE.read_text(encoding="utf-8") == page(rows), AGAIN
    assert SVG.read_text(encoding="utf-8") == picture(rows), AGAIN


def test_every_law_was_replayed_on_every_trace() -> None:
    rows = saved()
    for name in case_names():
        laws = [row for row in rows if row.case == name]
        assert {row.law for row in laws} == {OURS, FIXED, *PEERS}
        for law in (OURS, *PEERS):
            assert sum(row.is_documented for row in laws if row.law == law) == 1


@pytest.mark.parametrize("name", ["azure_code_2023", "mooncake_conversation"])
def test_the_operators_law_does_what_the_page_says(name: str) -> None:
    planned = case(name)
    ours = next(entry for entry in entries(planned) if entry.law == OURS)
    said = next(row for row in saved() if (row.case, row.law) == (name, OURS))
    assert row_of(planned, ours) == said, AGAIN


def test_ours_keeps_every_promise() -> None:
    assert [row.case for row in saved() if row.law == OURS and row.attainment < 0.95] == []


def test_who_keeps_as_much_takes_more() -> None:
    """With documented parameters everywhere; tuned to the trace where the page names nobody."""
    leading: set[tuple[str, str]] = set()
    for name, rows in by_case(saved()).items():
        ours = next(row for row in rows if row.law == OURS)
        for row in as_good(ours, (row for row in rows if row.law in PEERS)):
            if row.gpu_seconds <= ours.gpu_seconds:
                assert not row.is_documented
                leading.add((name, row.law))
    bursty = "servegen_tenants_bursty"
    assert leading == {
        (bursty, "KubeAI"),
        (f"{bursty}, a day", "KubeAI"),
        (f"{bursty}, a day", "KPA"),
    }


def row(attainment: float, gpu_seconds: float) -> Row:
    return Row("a", "b", "", False, attainment, 1, 1, gpu_seconds, 1, 0, 0)


def test_the_best_is_the_cheapest_that_keeps_the_promise() -> None:
    assert best([row(0.99, 9), row(0.96, 5), row(0.9, 1)]) == row(0.96, 5)
    assert best([row(0.8, 1), row(0.9, 5), row(0.9, 4)]) == row(0.9, 4)
