"""Kills the operator after each of its writes, and compares what comes of it byte by byte."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from e2e.faults.operator_process import complaints
from e2e.faults.run import LIMIT_SECONDS, PATIENCE, QUIET_SECONDS, Bench, Run, State, new_run
from e2e.faults.scenarios import Scenario
from e2e.faults.state import differences


@dataclass(frozen=True)
class Report:
    """What came of a scenario: `writes` without a crash, how often the operator was killed, the
    longest time in seconds to converge and for how many of them that operator waited for a core,
    and how often it was above the limit."""

    scenario: str
    writes: int
    kills: int
    seconds: float
    starved: float
    late: int
    idle_writes: tuple[str, ...]
    complaints: int

    def __str__(self) -> str:
        return (
            f"{self.scenario}: {self.writes} writes, killed {self.kills} times, "
            f"converged in at most {self.seconds:.1f} s, of which {self.starved:.1f} s without a "
            f"core ({self.late} above {LIMIT_SECONDS:.0f} s), "
            f"{len(self.idle_writes)} writes when idle, {self.complaints} complaints in logs"
            f"{''.join(f'; {write}' for write in self.idle_writes)}"
        )


async def try_scenario(
    bench: Bench, scenario: Scenario, idle: float, width: int = 8, every: int = 1
) -> Report:
    """Runs a scenario once undisturbed, then killed after each write (or each `every`-th), `width`
    operators at a time, and watches each for `idle` seconds afterwards."""
    (undisturbed,), wanted = await _wave(bench, scenario, [None], None, idle)
    writes = undisturbed.counted
    points: list[int | None] = [*range(1, writes + 1, every)]
    runs = [undisturbed]
    for first in range(0, len(points), width):
        wave, _ = await _wave(bench, scenario, points[first : first + width], wanted, idle)
        runs += wave
    slowest = max(runs, key=lambda run: run.seconds)
    return Report(
        scenario=scenario.name,
        writes=writes,
        kills=sum(run.crashed for run in runs),
        seconds=slowest.seconds,
        starved=slowest.starved,
        late=sum(run.crashed and run.seconds > LIMIT_SECONDS for run in runs),
        idle_writes=tuple(write for run in runs for write in run.idle_writes),
        complaints=sum(len(complaints(run.log)) for run in runs),
    )


async def _wave(
    bench: Bench,
    scenario: Scenario,
    points: Sequence[int | None],
    wanted: Sequence[State] | None,
    idle: float,
) -> tuple[list[Run], Sequence[State]]:
    """One run for each of `points` side by side; the runs, and the state after each step."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(scenario.undo, bench.api)
        runs = []
        for point in points:
            label = "undisturbed" if point is None else f"{point:02d}"
            run = await new_run(stack, bench, f"{scenario.name}-{label}", scenario.namespaces)
            run.crash_at, run.proxy.after_write = point, run
            runs.append(run)
        states: list[State] = []
        for number, step in enumerate(scenario.steps):
            for run in runs:
                run.armed = number >= scenario.setup
                if step.down:
                    run.stop()
            await step.once(bench.api)
            await asyncio.gather(*(step.act(run.place) for run in runs))
            await asyncio.sleep(step.pause)
            target = None if wanted is None else wanted[number]
            states += (await asyncio.gather(*(run.reach(target) for run in runs)))[:1]
        # An event follows the status that tells of the same.
        await asyncio.sleep(PATIENCE * QUIET_SECONDS)
        since = time.monotonic()
        await asyncio.sleep(idle)
        for run in runs:
            run.idle_writes = [
                f"{write.method} {write.path}" for write in run.proxy.writes if write.at > since
            ]
            after, _ = await run.state()
            if after != states[-1]:
                raise AssertionError(f"{run.name}: moved\n{differences(states[-1], after)}")
        return runs, states
