"""The page of measured latency is what the planner predicts now, and near what was measured."""

import json

import pytest

from docs.plots import measured

AGAIN = "run: PYTHONPATH=operator:runtime:. python -m docs.plots.measured"


@pytest.fixture(scope="module")
def result() -> measured.Result:
    found: measured.Result = json.loads(measured.RESULT.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def known(result: measured.Result) -> dict[str, measured.Calibrated]:
    return measured.calibrations(result)


@pytest.fixture(scope="module")
def cases(result: measured.Result, known: dict[str, measured.Calibrated]) -> list[measured.Case]:
    return measured.cases(result, known)


def test_page_and_picture_are_of_these_figures(
    result: measured.Result,
    known: dict[str, measured.Calibrated],
    cases: list[measured.Case],
) -> None:
    assert measured.PAGE.read_text(encoding="utf-8") == measured.page(result, known, cases), AGAIN
    assert measured.SVG.read_text(encoding="utf-8") == measured.picture(cases), AGAIN


def test_two_models_two_traces_and_loads_from_light_to_beyond_the_knee(
    cases: list[measured.Case],
) -> None:
    assert len(cases) == len({(case.model, case.trace) for case in cases}) == 4
    for case in cases:
        shares = [row.share for row in measured.rows([case])]
        assert len(shares) >= 4
        assert min(shares) < 0.6
        assert max(shares) > 1.1
