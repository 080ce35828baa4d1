"""The page of a day says what its result says."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from docs.plots.day import PAGE, RESULT, SVG, page, picture
from e2e.day.attribution import Kill
from e2e.day.disturbance import Happened
from e2e.day.observer import Sample
from e2e.day.request import Objectives, Request
from e2e.day.result import Result, Run, read, result
from e2e.day.schedule import Kind
from plimsoll_operator.drawing.svg import svg
from tests.unit.e2e_day.samples import SETUP as SAMPLE

OBJECTIVES = Objectives(2.0, 0.1)
SETUP = replace(SAMPLE, hours=1.0, seed=3, objectives=OBJECTIVES)


@pytest.fixture
def found() -> Result:
    sent = [Request(float(t), t, t + 1.0, 0.5, 0.05, 10, 5) for t in range(3600)]
    sent[1800] = Request(1800.0, 1800.0, 1800.5, None, None, 10, 5, "cut off", "a|b")
    samples = [Sample(2.0 * t, 1 + (t > 900), 1 + (t > 910), 2) for t in range(1800)]
    happened = [
        Happened(Kind.POD_FORCED, 1800.2, 1810.2, "day-a"),
        Happened(Kind.POD_DELETED, 100.0, 160.0, left_out="left out: 1 pods serve"),
        Happened(Kind.OBJECTIVE, 2000.0, 2240.0, no_room="1 replica cannot be scheduled"),
    ]
    kills = [Kill("day-a", 1800.2, 1801.0)]
    return result(Run(SETUP, 3600.0, True, 3600, sent, samples, happened, kills, 3, 0))


def test_the_page_has_the_figures(found: Result) -> None:
    text = page(found)
    assert "| kept the objectives | 99.97% |" in text
    assert "| failed | 1, of which 1 on killed pods |" in text
    assert "| static peak | 10,800 (" in text
    assert "| pod deleted by force | 1 | 0 | 0 | 10 s | 10 s |" in text
    assert "| pod deleted | 1 | 1 | 0 | 0 s | 0 s |" in text
    assert "| objective edited | 1 | 0 | 1 | 240 s | 240 s |" in text
    assert "| 1800.0 s | 1800.5 s | cut off: a\\|b | day-a |" in text
    assert "Nothing was wrong" in text


def test_the_page_does_not_hide_what_was_wrong(found: Result) -> None:
    text = page(replace(found, wrong=("a request failed",)))
    assert "* a request failed" in text
    assert "Nothing was wrong" not in text


def test_the_picture_marks_what_happened(found: Result) -> None:
    root = ElementTree.fromstring(svg(picture(found)))  # noqa: S314
    lines = root.findall("{http://www.w3.org/2000/svg}line")
    dashed = [line for line in lines if line.get("stroke") == "#b0b0b0"]
    assert len(dashed) == 6
    words = {text.text for text in root.findall("{http://www.w3.org/2000/svg}text")}
    assert {"static peak", "plan's count", "pods", "ready", "hour of the day"} <= words


@pytest.mark.skipif(not RESULT.exists(), reason="no day has been run for the documentation")
def test_what_is_published_is_what_was_run() -> None:
    found = read(RESULT)
    assert PAGE.read_text(encoding="utf-8") == page(found)
    assert SVG.read_text(encoding="utf-8") == svg(picture(found))
