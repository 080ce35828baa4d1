"""A lost connection and a 5xx are counted, and what is not a request is not."""

import json

from e2e.soak.openapi import CONNECTION_LOST, statuses


def scenario(*answers: int | None) -> str:
    exchanges = {
        str(index): {"response": None if status is None else {"status_code": status}}
        for index, status in enumerate(answers)
    }
    return json.dumps({"ScenarioFinished": {"recorder": {"interactions": exchanges}}})


def test_every_answer_of_every_scenario_counts() -> None:
    lines = [
        json.dumps({"Initialize": {"seed": 1}}),
        scenario(200, 400, 400),
        json.dumps({"PhaseFinished": {"status": "success"}}),
        scenario(500, None),
        scenario(),
        json.dumps({"ScenarioFinished": {"recorder": {"label": "an operation without a request"}}}),
    ]
    assert statuses(lines) == {200: 1, 400: 2, 500: 1, CONNECTION_LOST: 1}


def test_a_report_without_scenarios_has_no_answers() -> None:
    assert statuses([]).total() == 0
