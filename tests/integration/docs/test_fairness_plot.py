"""The picture of fairness and its figures are what the scheduler does now."""

from pathlib import Path

import pytest

from docs.plots import fairness

DECISION = Path(__file__).parents[3] / "docs" / "decisions" / "010-tenants-take-turns.md"
AGAIN = "run: PYTHONPATH=runtime python -m docs.plots.fairness"


@pytest.fixture(scope="module")
def workloads() -> dict[str, fairness.Outcomes]:
    return {name: fairness.outcomes(tokens) for name, tokens in fairness.WORKLOADS.items()}


def test_the_picture_shows_these_figures(workloads: dict[str, fairness.Outcomes]) -> None:
    drawn = fairness.SVG.read_text(encoding="utf-8")
    assert drawn == fairness.picture(workloads), AGAIN


def test_the_decision_states_these_figures(workloads: dict[str, fairness.Outcomes]) -> None:
    text = DECISION.read_text(encoding="utf-8")
    assert fairness.table(workloads) in text, AGAIN
    assert f"](../{fairness.SVG.name})" in text


def test_short_prompts_stay_within_twice_and_long_ones_within_three_times(
    workloads: dict[str, fairness.Outcomes],
) -> None:
    """Of what they take alone, in seconds, at the 95th percentile; by arrival it is a hundred."""
    for cases, most in zip(workloads.values(), (2, 3), strict=True):
        alone, fair, fcfs = (cases[name].percentile(95) for name in ("alone", "fair", "fcfs"))
        assert alone < fair < most * alone
        assert fcfs > 100 * alone


def test_what_is_missing_is_mostly_that_steps_are_longer(
    workloads: dict[str, fairness.Outcomes],
) -> None:
    """At the median it waits for the step that goes on, and has one of its own."""
    for cases in workloads.values():
        alone, fair, best = (cases[name] for name in ("alone", "fair", "priority"))
        assert fair.step > 1.9 * alone.step
        assert fair.percentile(50) < 2 * fair.step
        assert best.percentile(95) <= fair.percentile(95) < 1.25 * best.percentile(95)
