"""Failures are explained by kills and by nothing else; figures and verdict follow."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.day.attribution import SPREAD_SECONDS, Kill, attributed
from e2e.day.disturbance import Happened
from e2e.day.figures import LONGEST_GAP, changes, percentile, replica_seconds, windows
from e2e.day.observer import Sample, is_ready
from e2e.day.request import Objectives, Request
from e2e.day.result import Run, read, result, write
from e2e.day.schedule import Kind
from tests.unit.e2e_day.samples import SETUP

KILL = Kill("day-a", at=100.0, gone=102.0)
OBJECTIVES = Objectives(1.0, 0.1)


def request(
    begun: float, ended: float, failure: str = "", ttft: float | None = 0.5, reason: str = ""
) -> Request:
    return Request(begun, begun, ended, ttft, 0.05, 10, 5, failure, reason)


@pytest.mark.parametrize(
    ("failed", "explained"),
    [
        (request(95.0, 100.2, "cut off"), True),
        (request(95.0, 100.2, "stream"), True),
        (request(101.0, 101.0, "connection"), True),
        (request(101.0, 101.1, "http 503"), True),
        (request(102.0 + SPREAD_SECONDS, 102.0 + SPREAD_SECONDS, "connection"), True),
        # Before it was killed, or when everybody knew already.
        (request(95.0, 99.9, "cut off"), False),
        (request(105.5, 105.6, "connection"), False),
        (request(95.0, 130.0, "cut off"), False),
        # A pod's end is no reason for these.
        (request(101.0, 101.1, "http 429"), False),
        (request(101.0, 101.1, "http 400"), False),
        (request(95.0, 101.0, "length"), False),
        (request(95.0, 101.0, "timeout"), False),
        (request(101.0, 101.0, "not sent"), False),
    ],
)
def test_only_a_killed_pods_own_failures_are_explained(failed: Request, *, explained: bool) -> None:
    assert attributed([failed], [KILL]) == {failed: KILL if explained else None}


def test_without_kills_nothing_is_explained_and_answers_need_no_reason() -> None:
    failed = request(101.0, 101.0, "connection")
    assert attributed([failed, request(1.0, 2.0)], []) == {failed: None}


def test_windows_cover_the_day() -> None:
    sent = [request(1.0, 2.0), request(2.0, 4.0, ttft=2.0), request(25.0, 26.0, "cut off")]
    found = list(windows(sent, OBJECTIVES, 10.0, 35.0))
    assert [each.at for each in found] == [0.0, 10.0, 20.0, 30.0]
    assert [(each.requests, each.kept, each.failed) for each in found] == [
        (2, 1, 0),
        (0, 0, 0),
        (1, 0, 1),
        (0, 0, 0),
    ]


def test_replicas_count_as_long_as_they_exist() -> None:
    looks = [Sample(2.0, 1, 1, 1), Sample(10.0, 3, 1, 3), Sample(20.0, 2, 2, 2)]
    # The first look stands for what was before it.
    assert replica_seconds(looks, 30.0) == 1 * 10 + 3 * 10 + 2 * 10
    assert replica_seconds([], 30.0) == 0
    assert replica_seconds(looks[:1], 1000.0) == LONGEST_GAP


def test_only_changes_of_replicas_are_kept() -> None:
    looks = [Sample(float(at), 2 + (at > 3), 2, 2) for at in range(10)]
    assert [each.at for each in changes(looks)] == [0.0, 4.0, 9.0]
    assert list(changes([])) == []


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_a_pod_on_its_way_out_is_not_ready() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert is_ready({"metadata": {}, "status": status})
    assert not is_ready({"metadata": {"deletionTimestamp": "now"}, "status": status})
    assert not is_ready({"metadata": {}, "status": {}})


RUN = Run(
    SETUP,
    seconds=360.0,
    complete=True,
    expected=3,
    requests=[request(1.0, 2.0), request(2.0, 4.0, ttft=3.0), request(99.0, 100.5, "cut off")],
    samples=[Sample(t * 2.0, 2, 2, 2) for t in range(181)],
    events=[Happened(Kind.ENGINE_KILLED, 100.0, 120.0, "day-a")],
    kills=[KILL],
    pods=2,
    restarts=1,
)


def test_a_good_run_has_nothing_wrong(tmp_path: Path) -> None:
    found = result(RUN)
    assert found.wrong == ()
    totals = found.totals
    assert (totals.requests, totals.kept, totals.failed, totals.on_killed_pods) == (3, 1, 1, 1)
    assert totals.replica_seconds == totals.planned_seconds == 720.0
    assert totals.static_seconds == 1080.0
    assert found.failures[0].pod == "day-a"
    file = tmp_path / "run.json"
    write(found, RUN.requests, file)
    assert read(file) == found
    assert (tmp_path / "run.requests.json").exists()


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (replace(RUN, kills=[]), "no killed pod explains it: due at 99.0 s"),
        (replace(RUN, restarts=2), "restarted 2 times, killed 1 times"),
        (replace(RUN, requests=[replace(RUN.requests[0], begun=3.0)] * 3), "was sent 2.0 s late"),
        (replace(RUN, expected=5), "nothing is known of 2 requests"),
        (replace(RUN, trouble=["the sender is gone"]), "the sender is gone"),
        (
            replace(RUN, events=[*RUN.events, Happened(Kind.LIMITS, 200.0, 9.0, wrong="stuck")]),
            "limits edited at 200 s: stuck",
        ),
    ],
)
def test_what_must_not_be_is_told(run: Run, problem: str) -> None:
    (wrong,) = result(run).wrong
    assert problem in wrong
