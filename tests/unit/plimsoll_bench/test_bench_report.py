"""Results for people: tables, pictures, how busy the machine was."""

import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_bench import host
from plimsoll_bench.figures import ClientFigures, Objectives
from plimsoll_bench.host_use import HostUse, Ticks, use_between
from plimsoll_bench.plot import plot
from plimsoll_bench.report import progress, report
from plimsoll_bench.result import Ramp
from plimsoll_operator.drawing.svg import svg
from tests.unit.plimsoll_bench.bench_samples import record, result, run

OBJECTIVES = Objectives(0.5, 0.05)


def test_a_table_has_every_figure() -> None:
    runs = [
        run(
            [record(first=first), record(failure="http 429")],
            repetition=number,
            host=HostUse(0.9, 0.03, 0.08),
            client=ClientFigures(0.05, 0.0, 0.1),
            objectives=OBJECTIVES,
        )
        for number, first in enumerate((0.1, 0.2, 0.9), start=1)
    ]
    lines = [line.split() for line in report(result("a", runs)).splitlines()]
    assert ["TTFT", *["200ms"] * 5] in lines
    assert ["TPOT", *["10ms"] * 5] in lines
    text = report(result("a", runs))
    assert "medians of 3" in text
    assert "3 × http 429 of 6 requests" in text
    assert "such as: it broke" in text
    assert "50% of requests" in text
    assert "stolen by the hypervisor 3%, used by others 8%" in text
    assert "! requests went out up to 50 ms late" in text


def test_progress_is_one_line() -> None:
    line = progress(run([record()], host=HostUse(0.5, 0.0, None)))
    assert "\n" not in line
    assert line.startswith("W1 #1  200ms  TTFT 100ms")


def ramped() -> Ramp:
    runs = tuple(
        run([record(first=0.1 * rate)], f"W5r{rate}", rate=float(rate), objectives=OBJECTIVES)
        for rate in (1, 2, 6)
    )
    return Ramp(runs, 3.2, 2.0)


def test_a_ramp_as_a_table() -> None:
    text = report(replace(result("a", []), ramp=ramped()))
    assert "knee        3.2 requests/s" in text
    assert "sustained   2 requests/s" in text
    none = report(replace(result("a", []), ramp=replace(ramped(), knee=None, sustained=None)))
    assert "none between these loads" in none


@pytest.mark.parametrize("ramp", [None, ramped()])
def test_pictures_are_xml_with_both_panels(ramp: Ramp | None) -> None:
    found = replace(
        result("a <b> & c", [run([record(), record(first=0.4, gap=0.2)], objectives=OBJECTIVES)]),
        ramp=ramp,
        objectives=OBJECTIVES,
    )
    root = ET.fromstring(svg(plot(found)))  # noqa: S314 - our own
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Time to first token" in texts
    assert "Time per output token" in texts
    assert ("knee" in texts) == (ramp is not None)


def test_answers_of_one_token_leave_the_second_panel_out() -> None:
    root = ET.fromstring(svg(plot(result("a", [run([record(tokens=1)])]))))  # noqa: S314
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Time per output token" not in texts


def test_shares_of_the_cores() -> None:
    before = Ticks(busy=100, steal=10, total=1000, server=20, own=5.0)
    after = Ticks(busy=180, steal=20, total=1200, server=60, own=15.0)
    use = use_between(before, after)
    assert use == HostUse(0.4, 0.05, pytest.approx(0.15))
    assert use.noise == pytest.approx(0.2)
    unknown = use_between(replace(before, server=None), after)
    assert unknown is not None
    assert unknown.foreign is None
    assert use_between(None, after) is None
    assert use_between(after, after) is None


@given(st.lists(st.integers(0, 10**6), min_size=8, max_size=8), st.integers(1, 10**6))
@settings(max_examples=25)
def test_shares_are_shares(fields: list[int], more: int) -> None:
    busy, steal, idle, *_ = fields
    before = Ticks(busy, steal, busy + steal + idle, None, 0.0)
    after = Ticks(busy + more, steal, busy + more + steal + idle, None, 0.0)
    use = use_between(before, after)
    assert use is not None
    assert 0.0 <= use.busy <= 1.0


def test_proc_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stat").write_text("cpu  100 1 50 800 40 3 6 20 7 0\ncpu0 1 2 3\n")
    for process, parent, used in ((7, 1, 11), (8, 7, 5), (9, 8, 3), (10, 1, 99)):
        folder = tmp_path / str(process)
        folder.mkdir()
        fields = ["S", str(parent), *["0"] * 9, str(used), "1", "0", "0", "0"]
        (folder / "stat").write_text(f"{process} (a) b) {' '.join(fields)}\n")
    monkeypatch.setattr(host, "PROC", tmp_path)
    found = host.ticks(7)
    assert found is not None
    assert (found.busy, found.steal, found.total) == (160, 20, 1020)
    assert found.server == 11 + 5 + 3 + 3
    assert host.listening_process(80) is None
    monkeypatch.setattr(host, "PROC", tmp_path / "none")
    assert host.ticks() is None
    assert host.listening_process(80) is None
    found = host.machine()
    assert found["cores"]
    if "cpu" in found:
        assert set(filter(None, found["extensions"].split(", "))) <= set(host.EXTENSIONS)


def test_our_own_listener_is_found() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert host.listening_process(listener.getsockname()[1]) == os.getpid()
