"""Results side by side, and refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench.command import main
from plimsoll_bench.comparison import Compared, NotComparableError, compare
from plimsoll_bench.figures import ClientFigures, Objectives
from plimsoll_bench.host_use import HostUse
from plimsoll_bench.result import Result, ResultError, from_json, to_json
from tests.unit.plimsoll_bench.bench_samples import record, result, run


def three(label: str, factor: float = 1.0, digest: str = "ids:a") -> Result:
    return result(
        label,
        [
            run([record(first=factor * first, gap=factor * 0.01, digest=digest)], repetition=number)
            for number, first in enumerate((0.1, 0.2, 0.9), start=1)
        ],
    )


def ratios(compared: Compared) -> dict[str, float | None]:
    return {row.figure.name: row.ratios[1] for row in compared.rows}


def test_medians_and_ratios() -> None:
    (compared,) = compare([three("a"), three("b", 2.0)])
    rows = {row.figure.name: row for row in compared.rows}
    assert rows["TTFT p50"].medians == pytest.approx((0.2, 0.4))
    assert ratios(compared)["TPOT p50"] == pytest.approx(2.0)
    assert rows["TPOT p50"].verdict(1) == "worse"
    assert rows["output tokens"].verdict(1) == "worse"
    assert "goodput" not in rows
    assert compared.notes == ()
    assert compared.repetitions == (3, 3)


@given(st.floats(0.2, 5.0))
@settings(max_examples=25)
def test_differences_under_15_percent_mean_nothing(factor: float) -> None:
    (compared,) = compare([three("a"), three("b", factor)])
    verdict = next(row.verdict(1) for row in compared.rows if row.figure.name == "TPOT p50")
    if abs(factor - 1) < 0.1499:
        assert verdict == "same"
    elif factor > 1.1501:
        assert verdict == "worse"
    elif factor < 0.8499:
        assert verdict == "better"


def test_goodput_is_compared_by_the_same_objectives_alone() -> None:
    def judged(label: str, ttft: float) -> Result:
        goals = Objectives(ttft)
        return replace(result(label, [run([record()], objectives=goals)]), objectives=goals)

    (same,) = compare([judged("a", 0.5), judged("b", 0.5)])
    assert ratios(same)["goodput"] == 1.0
    (other,) = compare([judged("a", 0.5), judged("b", 0.05)])
    assert "goodput" not in ratios(other)
    assert "objectives differ" in other.notes[0]


def test_other_token_counts_are_refused() -> None:
    longer = result("b", [run([record(tokens=12)])])
    with pytest.raises(NotComparableError, match="100 tokens of prompts and 12 of answers, not"):
        compare([result("a", [run([record()])]), longer])
    prompts = result("b", [run([record(prompt=101)])])
    with pytest.raises(NotComparableError, match="101 tokens of prompts"):
        compare([result("a", [run([record()])]), prompts])


def test_other_workloads_are_refused() -> None:
    first = result("a", [run([record()])])
    with pytest.raises(NotComparableError, match="ran W1, b ran W2"):
        compare([first, result("b", [run([record()], "W2")])])
    with pytest.raises(NotComparableError, match="lengths, times or concurrency"):
        compare([first, result("b", [run([record()], spec="other")])])
    with pytest.raises(NotComparableError, match="a: has no runs"):
        compare([result("a", []), result("b", [])])


def test_failed_requests_are_refused_on_either_side() -> None:
    good = result("a", [run([record(), record()])])
    bad = result("b", [run([record(), record(failure="http 500")])])
    for order in ([good, bad], [bad, good]):
        with pytest.raises(NotComparableError, match="1 of 2 requests failed"):
            compare(order)


def test_answers_are_counted_where_they_are_equal() -> None:
    (same,) = compare([three("a"), three("b", 3.0)])
    assert (same.equal_answers, same.answers) == (3, 3)
    (other,) = compare([three("a"), three("b", digest="ids:b")])
    assert (other.equal_answers, other.answers) == (0, 3)
    (unlike,) = compare([three("a"), three("b", digest="text:a")])
    assert unlike.equal_answers is None


def test_notes_say_what_is_doubtful() -> None:
    noisy = run([record()], host=HostUse(0.9, 0.05, 0.2))
    late = run([record()], client=ClientFigures(0.5, 0.0, 0.1))
    (compared,) = compare([result("a", [noisy]), result("b", [late])])
    assert compared.notes == (
        "a: only 1 repetition",
        "a: others took up to 25% of the cores",
        "b: only 1 repetition",
        "b: requests went out up to 500 ms late (p99)",
    )


def test_json_and_back() -> None:
    found = result("a", [run([record(), record(failure="timeout")], host=HostUse(0.5, 0.0, None))])
    assert from_json(to_json(found), "x") == found


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"label": 3}', "\x00"])
def test_other_files_are_no_results(text: str) -> None:
    with pytest.raises(ResultError, match=r"x: no result.*; give a file that its --save wrote"):
        from_json(text, "x")


def test_a_later_format_is_refused() -> None:
    text = to_json(three("a")).replace("plimsoll-bench/1", "plimsoll-bench/9")
    with pytest.raises(ResultError, match="plimsoll-bench/9"):
        from_json(text, "x")


def saved(folder: Path, **results: Result) -> list[str]:
    paths = []
    for name, each in results.items():
        path = folder / f"{name}.json"
        path.write_text(to_json(each), encoding="utf-8")
        paths.append(str(path))
    return paths


def test_the_command_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = saved(tmp_path, ours=three("ours"), theirs=three("theirs", 1.5))
    assert main(["compare", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    tpot = next(line.split() for line in lines if "TPOT p50" in line)
    assert tpot == ["TPOT", "p50", "10ms", "15ms", "1.50", "worse"]
    assert "  answers equal in 3 of 3 requests" in lines
    assert main(["compare", *files, "-o", "json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["rows"]["TPOT p50"]["ratios"]["theirs"] == pytest.approx(1.5)


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = saved(tmp_path, a=three("m"), b=result("m", [run([record(tokens=3)])]))
    assert main(["compare", *files]) == 3
    # Labels that are the same tell nothing, so files are named.
    assert "repetition 1 of b: 100 tokens of prompts and 3 of" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_command_fails_where_answers_must_be_equal(tmp_path: Path) -> None:
    same = saved(tmp_path, a=three("a"), b=three("b"))
    other = saved(tmp_path, c=three("c"), d=three("d", digest="ids:z"))
    assert main(["compare", "--equal-answers", *same]) == 0
    assert main(["compare", "--equal-answers", *other]) == 4
