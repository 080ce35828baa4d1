"""Turns that are taken, against a real server in a process of its own."""

import sys
from pathlib import Path

import pytest

from e2e.peers import runner as runner_module
from e2e.peers.correctness import Agreement
from e2e.peers.engine import ROOT, Engine, Size, Start
from e2e.peers.measurement import Turn
from e2e.peers.models import RandomModel
from e2e.peers.roofline import Roofline
from e2e.peers.runner import Runner, Work
from plimsoll_bench.wanted import Trace
from plimsoll_planner.simulation.arrival import Arrival

SERVER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from e2e.peers.token_server import serve
async def generate(prompt, count):
    for token in prompt[:count]:
        await asyncio.sleep(0.001)
        yield [token]
asyncio.run(serve("model", generate, int(sys.argv[1])))
"""


def serving(_: RandomModel, port: int, size: Size) -> Start:
    assert size == Size()
    return Start((sys.executable, "-c", SERVER, str(port), str(ROOT)), note="echoes")


def failing(*_: object) -> Start:
    return Start((sys.executable, "-c", "raise SystemExit('too bad')"))


@pytest.mark.timeout(180)
def test_a_turn_is_measured_put_to_sleep_and_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "measure", lambda _: Roofline(1.0, 2.0, 3.0))
    monkeypatch.setattr("plimsoll_bench.session.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("plimsoll_bench.driver.LEAD_SECONDS", 0.01)
    engines = {
        "echo": Engine("echo", "7", serving, slow=True),
        "bad": Engine("bad", "8", failing),
        "fast": Engine("fast", "9", serving),
    }
    right = Agreement(1, 1, 0.0, 0.0)
    recorded = Trace("trace at 9/s", [Arrival(0.0, 20, 3), Arrival(0.1, 10, 2)])
    checked = {(name, "135m"): right for name in engines}
    with Runner(engines, Work(("W2",), idle_wait=0.0), checked) as runner:
        first = runner.take(Turn(1, "135m", "echo"))
        (server,) = runner._asleep.values()
        process = Path(f"/proc/{server.process}")
        assert process.exists()
        broken = runner.take(Turn(1, "135m", "bad"))
        runner._work = Work(("W2",), {"135m": recorded}, 0.0)
        more = runner.take(Turn(1, "135m", "echo"), first)
        second = runner.take(Turn(2, "135m", "echo"))
        twice = runner.take(Turn(2, "135m", "fast"))
    assert not process.exists()
    assert (first.error, first.note, first.version) == ("", "echoes", "7")
    assert first.first_token_seconds is not None
    assert first.first_start_seconds is None
    assert twice.first_token_seconds is not None
    assert twice.first_start_seconds is not None
    assert twice.first_start_seconds != twice.first_token_seconds
    assert first.agreement == right
    assert first.result is not None
    assert [run.workload for run in first.result.runs] == ["W2"]
    assert first.result.runs[0].figures.output_tokens == 1
    assert "too bad" in broken.error
    assert broken.result is None
    assert more.result is not None
    assert more.result.runs[0] is first.result.runs[0]
    assert [run.workload for run in more.result.runs] == ["W2", "trace at 9/s"]
    assert more.result.runs[1].figures.goodput is not None
    assert second.first_token_seconds is None
    assert second.result is not None
    assert {run.repetition for run in second.result.runs} == {2}
