"""Two operators at once over the same resources, as in a careless upgrade: they must not fight."""

import asyncio
import dataclasses
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from e2e.faults.operator_process import complaints
from e2e.faults.proxy import ApiProxy
from e2e.faults.run import QUIET_SECONDS, Bench, Run, State, new_run
from e2e.faults.scenarios import Scenario


@dataclass(frozen=True)
class Shared:
    """What came of a scenario with one operator and with two: writes, and what was wrong."""

    scenario: str
    alone: int
    together: int
    idle_writes: int
    complaints: int

    def __str__(self) -> str:
        return (
            f"{self.scenario}: {self.alone} writes by one operator, {self.together} by two, "
            f"{self.idle_writes} when idle, {self.complaints} complaints in logs"
        )


async def try_twins(bench: Bench, scenario: Scenario, idle: float) -> Shared:
    """Runs a scenario with one operator and then with two; the same must come of it each time.

    Raises AssertionError where it does not, or what came of it moves within `idle` seconds.
    """
    alone, wanted, _ = await _go(bench, scenario, 1, None, idle)
    both, _, late = await _go(bench, scenario, 2, wanted, idle)
    return Shared(
        scenario.name,
        alone=sum(len(run.proxy.writes) for run in alone),
        together=sum(len(run.proxy.writes) for run in both),
        idle_writes=late,
        complaints=sum(len(complaints(run.log)) for run in both),
    )


async def _go(
    bench: Bench, scenario: Scenario, operators: int, wanted: list[State] | None, idle: float
) -> tuple[list[Run], list[State], int]:
    """The runs, the state after each step, and how many writes there were afterwards."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(scenario.undo, bench.api)
        label = f"{scenario.name}-{'alone' if operators == 1 else 'twins'}"
        runs = [await new_run(stack, bench, label, scenario.namespaces)]
        while len(runs) < operators:
            proxy = await stack.enter_async_context(ApiProxy(bench.session, bench.upstream))
            folder = bench.folder / f"operator-{len(runs) + 1}"
            folder.mkdir(exist_ok=True)
            aside = dataclasses.replace(bench, folder=folder)
            runs.append(Run(aside, runs[0].place, proxy, runs[0].pace))
            stack.callback(runs[-1].stop)
        states: list[State] = []
        for number, step in enumerate(scenario.steps):
            if step.down:
                for run in runs:
                    run.stop()
            else:
                for run in runs:
                    if run.process is None:
                        run.start()
            await step.once(bench.api)
            await step.act(runs[0].place)
            await asyncio.sleep(step.pause)
            target = None if wanted is None else wanted[number]
            states += (await asyncio.gather(*(run.reach(target) for run in runs)))[:1]
        await asyncio.sleep(QUIET_SECONDS)
        since = time.monotonic()
        await asyncio.sleep(idle)
        late = sum(write.at > since for run in runs for write in run.proxy.writes)
        after, _ = await runs[0].state()
        assert after == states[-1], f"{runs[0].name}: moved while nothing was asked"
        return runs, states, late
