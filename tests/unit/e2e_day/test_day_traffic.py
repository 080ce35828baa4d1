"""A day's requests follow its curve, and what becomes of them is told."""

import asyncio
import json
import statistics

import pytest

from e2e.day.arrivals import Lengths, arrivals, most_in_a_window, parse_lengths
from e2e.day.deployment import deployment
from e2e.day.request import Objectives, Request, parse_log
from e2e.day.run import DATA, Day, traffic
from e2e.day.sender import Sender
from e2e.day.shape import Shape, ShapeError, parse_shape
from e2e.support.traffic import Arrival
from plimsoll_operator.api.spec import LLMDeploymentSpec

DAY = Shape((0.0, 1.0, 0.5, 0.5))
LENGTHS = (Lengths(10, 5), Lengths(300, 40))


def test_a_day_is_a_ring_of_windows() -> None:
    assert DAY.at(0.375) == 1.0
    assert DAY.at(0.25) == pytest.approx(0.5)
    assert DAY.at(0.0) == DAY.at(1.0) == pytest.approx(0.25)
    assert DAY.mean == 0.5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n", "KeyError"),
        ("second,requests_per_second\n0,x\n", "ValueError"),
        ("second,requests_per_second\n0,1\n", "two at least"),
        ("second,requests_per_second\n0,1\n600,1\n900,1\n", "equally long"),
        ("second,requests_per_second\n0,0\n600,0\n", "one above"),
        ("second,requests_per_second\n0,1\n600,-1\n", "at least 0"),
        ("second,requests_per_second\n0,1\n600,inf\n", "one above"),
    ],
)
def test_what_is_no_day_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ShapeError, match=problem):
        parse_shape(text)


def test_the_recorded_day_has_a_night() -> None:
    shape = parse_shape((DATA / "servegen_small_day.csv").read_text())
    assert len(shape.windows) == 144
    assert max(shape.windows) == 1.0
    assert 0.15 < min(shape.windows) < 0.3
    assert 0.4 < shape.mean < 0.6


def test_requests_come_as_the_curve_says() -> None:
    found = arrivals(DAY, LENGTHS, 4000, 2.0, seed=3)
    assert found == arrivals(DAY, LENGTHS, 4000, 2.0, seed=3)
    assert found != arrivals(DAY, LENGTHS, 4000, 2.0, seed=4)
    times = [each.at for each in found]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 4000
    # Poisson: four standard deviations.
    assert len(found) == pytest.approx(2.0 * DAY.mean * 4000, abs=4 * 4000**0.5)
    rush = sum(1400 <= at < 1600 for at in times)
    dawn = sum(400 <= at < 600 for at in times)
    assert rush == pytest.approx(2.0 * 200 * 0.95, abs=80)
    assert dawn < 0.2 * rush
    assert {(each.prompt_tokens, each.output_tokens) for each in found} == set(LENGTHS)


def test_the_fullest_stretch_is_found() -> None:
    times = [0.0, 50.0, 100.0, 101.0, 102.0, 200.0]
    assert most_in_a_window([Arrival(at, 1, 1) for at in times], 10.0) == pytest.approx(0.3)
    assert most_in_a_window([], 10.0) == 0.0


def test_two_hours_fit_and_every_request_fits_the_context() -> None:
    of = traffic(Day(hours=2.0, peak=4.0, gap=120.0, seed=1))
    assert 12_000 < len(of.arrivals) < 18_000
    assert max(each.prompt_tokens + each.output_tokens for each in of.arrivals) < 1792
    resource = deployment(2.8, 7200.0, of.lengths)
    spec = LLMDeploymentSpec.model_validate(resource["spec"])
    assert spec.scaling.scale_down_stabilization == "300s"
    assert spec.workload.requests_per_second == "2800m"


def test_lengths_are_read_from_a_trace() -> None:
    assert parse_lengths('{"t":0,"prompt_tokens":7,"output_tokens":3}\n') == (Lengths(7, 3),)
    with pytest.raises(KeyError):
        parse_lengths('{"t":0}')


def test_a_log_that_is_cut_off_says_what_it_can() -> None:
    sent = [Arrival(1.0, 10, 5), Arrival(2.0, 20, 6)]
    rows = [
        {"start": 1000.5},
        {"n": 1, "begun": 2.0, "ended": 3.0, "ttft": 0.5, "tpot": 0.1},
        {"n": 7, "begun": 2.0, "ended": 3.0, "ttft": 0.5, "tpot": 0.1},
    ]
    lines = [json.dumps(row) for row in rows] + ['{"n": 0, "beg', "Traceback", "7"]
    found = parse_log(lines, sent)
    assert found.start == 1000.5
    assert found.requests == {1: Request(2.0, 2.0, 3.0, 0.5, 0.1, 20, 6)}
    assert not found.done
    assert parse_log(['{"done": 2}'], sent).done


@pytest.mark.parametrize(
    ("request_", "held"),
    [
        (Request(0, 0, 1, 1.0, 0.1, 1, 2), True),
        (Request(0, 0, 1, 1.0, None, 1, 1), True),
        (Request(0, 0, 1, 1.1, 0.1, 1, 2), False),
        (Request(0, 0, 1, 1.0, 0.2, 1, 2), False),
        (Request(0, 0, 1, None, None, 1, 2), False),
        (Request(0, 0, 1, 1.0, 0.1, 1, 2, "cut off"), False),
    ],
)
def test_objectives_are_of_full_answers(request_: Request, *, held: bool) -> None:
    assert Objectives(1.0, 0.1).hold(request_) is held


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Streams as many tokens as are asked for; 3 are refused, and of 4 two come."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split()[0])
    asked = json.loads(await reader.readexactly(length))["max_tokens"]
    if asked == 3:
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nlate")
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(2 if asked == 4 else asked):
            writer.write(b'data: {"choices": [{"text": "x"}]}\n\n')
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.write(b"" if asked == 4 else b"data: [DONE]\n\n")
    writer.close()


def test_the_sender_tells_what_became_of_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2e.day.sender.LEAD_SECONDS", 0.0)
    asked = [Arrival(0.0, 4, 2), Arrival(0.01, 4, 3), Arrival(0.02, 4, 4)]

    async def send() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            rows = [(each.at, each.prompt_tokens, each.output_tokens) for each in asked]
            await Sender("127.0.0.1", "m", port).send(rows)

    asyncio.run(send())
    found = parse_log(capsys.readouterr().out.splitlines(), asked)
    assert found.done
    assert found.start is not None
    good, refused, cut = (found.requests[number] for number in range(3))
    assert (good.failure, refused.failure, cut.failure) == ("", "http 429", "cut off")
    assert (refused.reason, cut.reason) == ("late", "after 2 tokens")
    assert good.ttft is not None
    assert good.tpot is not None
    assert 0.004 < good.tpot < 0.5
    assert good.due <= good.begun <= good.ended
    assert statistics.fmean([good.begun, refused.begun, cut.begun]) < 1
