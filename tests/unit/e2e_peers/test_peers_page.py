"""What was asked, what came out, and the page that says so."""

from dataclasses import replace

import pytest

from e2e.peers.asked import ASKED, LEVEL, Asked, judge, values
from e2e.peers.correctness import Agreement
from e2e.peers.engine import Precision
from e2e.peers.measurement import Measurement, Turn
from e2e.peers.page import page
from e2e.peers.roofline import Roofline
from e2e.peers.sound import sound
from plimsoll_bench.comparison import FIGURES
from plimsoll_bench.host_use import HostUse
from tests.unit.plimsoll_bench.bench_samples import record, result, run

ROOFLINE = Roofline(54e9, 7e11, 14e11)
TPOT = next(each for each in FIGURES if each.name == "TPOT p50")
QUIET, BUSY = HostUse(0.9, 0.0, 0.0), HostUse(0.9, 0.3, 0.1)


def measured(
    engine: str,
    gap: float,
    number: int = 1,
    *,
    precision: Precision = Precision.BF16,
    agreement: Agreement | None = None,
    tokens: int = 11,
    host: HostUse = QUIET,
    failure: str = "",
) -> Measurement:
    records = [record(gap=gap, tokens=tokens, failure=failure)]
    return Measurement(
        Turn(number, "135m", engine),
        "0.1",
        precision,
        "a note",
        "c0ffee",
        f"2026-01-01T00:00:0{number}Z",
        1.0,
        {1: 3.0, 2: 9.0, 3: 2.0}[number],
        2**30,
        result(engine, [run(records, repetition=number, host=host)]),
        ROOFLINE,
        agreement,
    )


def sitting(*engines: tuple[str, float]) -> list[Measurement]:
    return [measured(engine, gap, number) for number in (1, 2, 3) for engine, gap in engines]


def test_ours_is_set_against_the_best_of_the_others_in_its_class() -> None:
    found = sitting(("ours", 0.01), ("slow", 0.04), ("fast", 0.015))
    found += [measured("eight", 0.005, precision=Precision.INT8)]
    asked = Asked("W1", "TPOT p50", {"135m": 1.4})
    judged = judge(asked, "135m", found)
    assert judged is not None
    assert (judged.best, judged.rounds, judged.holds) == ("fast", 3, True)
    assert judged.ratio == pytest.approx(1.5)
    anyone = judge(Asked("W1", "TPOT p50", {"135m": 1.4}, all_classes=True), "135m", found)
    assert anyone is not None
    assert (anyone.best, anyone.holds) == ("eight", False)
    assert judge(asked, "0.5b", found) is None
    assert judge(asked, "135m", [each for each in found if each.turn.engine == "ours"]) is None


def test_ours_has_its_best_configuration_too() -> None:
    found = [
        measured(name, gap, precision=Precision.INT8)
        for name, gap in (("ours-int8", 0.02), ("ours-int8-weight-only", 0.01), ("q8_0", 0.015))
    ]
    judged = judge(Asked("W1", "TPOT p50", {"135m": 1.4}, Precision.INT8), "135m", found)
    assert judged is not None
    assert (judged.name, judged.best) == ("ours-int8-weight-only", "q8_0")


@pytest.mark.parametrize(("gap", "holds"), [(0.0100, True), (0.0113, True), (0.0118, False)])
def test_level_is_what_differs_by_less_than_means_anything(gap: float, holds: bool) -> None:
    asked = Asked("W1", "TPOT p50", {"135m": LEVEL})
    judged = judge(asked, "135m", sitting(("ours", gap), ("other", 0.01)))
    assert judged is not None
    assert judged.holds is holds


def test_rounds_in_which_others_took_the_cores_are_left_out_where_any_remain() -> None:
    found = [measured("ours", 0.09, 1, host=BUSY), measured("ours", 0.01, 2)]
    assert values(found, "135m", "ours", "W1", TPOT) == {2: pytest.approx(0.01)}
    assert values(found[:1], "135m", "ours", "W1", TPOT) == {1: pytest.approx(0.09)}


def test_runs_of_other_work_are_dropped_and_told() -> None:
    found = sitting(("ours", 0.01), ("other", 0.02))
    found.append(measured("longer", 0.001, tokens=4))
    found.append(measured("broken", 0.001, failure="http 500"))
    kept, dropped = sound(found)
    names = {each.turn.engine for each in kept if each.result and each.result.runs}
    assert names == {"ours", "other"}
    assert any("longer" in line for line in dropped)
    assert any("broken" in line and "failed" in line for line in dropped)


def test_the_page_says_what_was_asked_and_what_came_out() -> None:
    right = Agreement(128, 126, 0.02, 0.03)
    found = sitting(("ours", 0.01), ("fast", 0.015))
    found[0] = measured("ours", 0.01, agreement=right)
    found[2] = replace(found[2], first_start_seconds=7.0)
    found.append(
        Measurement(Turn(1, "135m", "gone"), "1", Precision.BF16, "", "", "", 0.0, error="x\ny")
    )
    text = page(found, {"cpu": "A", "cores": "2"})
    assert (
        "| W1 TPOT p50 | bf16 | 10ms ours | 15ms fast | **1.50×** | 1.50–1.50, 3 | 1.3× | reached |"
    ) in text
    assert "| W3 output tokens | bf16 | – | – | – | – | 1.3× | not measured |" in text
    assert "| first token after the start | bf16 | 3s ours | | | | at most 5s | reached |" in text
    assert "| ours | 100ms (39% of the limit) | 10ms (50% of the limit) | 3 | 0% at most |" in text
    assert "| *limit, bf16* | 38.9ms | 4.98ms | | |" in text
    assert "126 of 128, 0.02, 0.03" in text
    assert "| ours | 0.1 | bf16 | 3s | 7s |" in text
    assert "failed in 1 rounds: `y`" in text
    wrong = page([measured("ours", 0.01, agreement=Agreement(128, 3, 2.0, 0.0))], {})
    assert "**wrong**" in wrong
    assert "**missed**" in page(sitting(("ours", 0.02), ("fast", 0.01)), {})


def test_every_wish_names_a_figure_that_is_measured() -> None:
    assert {each.figure for each in ASKED} <= {each.name for each in FIGURES}
    for model in ("135m", "0.5b"):
        assert sum(model in each.ratio for each in ASKED) == 11
