"""An operator whose API server answers badly, and the same edits without that."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random

from e2e.cluster.fake_gpus import RESOURCE as GPU
from e2e.faults.api import RefusedError
from e2e.faults.operator_process import SHIPPED, Pace, complaints
from e2e.faults.plan import Faults, Outage, Peace, Rates
from e2e.faults.run import LIMIT_SECONDS, Bench, Run, new_run
from e2e.faults.scenarios import (
    FINE,
    HOPELESS,
    NAME,
    PIN,
    Step,
    create,
    delete_children,
    edit,
    edit_children,
)
from e2e.faults.state import differences

BRISK = Pace(resync=5.0, relist=10.0, inactivity=5.0)
"""What a short run can wait for."""
EDITS = (
    create(),
    edit(pin=PIN),
    Step(delete_children),
    edit(slo=HOPELESS),
    edit(access={"namespaces": ["apps"]}),
    edit(slo=FINE),
    Step(edit_children),
    edit(pin={"tensorParallelSize": 4}),
)
STORMS: dict[str, Callable[[int], Faults]] = {
    "errors": lambda seed: Rates(seed, errors=0.15),
    "answers-lost": lambda seed: Rates(seed, too_late=0.15),
    "stale-lists": lambda seed: Rates(seed, stale=0.7),
    "events-dropped": lambda seed: Rates(seed, drop=0.5),
    "watches-cut": lambda seed: Rates(seed, cut=0.2),
    "watches-silent": lambda seed: Rates(seed, silence=0.1),
    "watches-fail": lambda seed: Rates(seed, fail=0.2),
    "requests-hang": lambda seed: Rates(seed, hang=0.05),
    "everything": lambda seed: Rates(
        seed,
        errors=0.05,
        too_late=0.05,
        stale=0.2,
        drop=0.1,
        cut=0.02,
        silence=0.02,
        fail=0.02,
        hang=0.01,
    ),
}


@dataclass(frozen=True)
class Endured:
    """`seconds` from the last edit to convergence while the faults went on, and what was written
    when they were over."""

    storm: str
    seconds: float
    writes: int
    idle_writes: int
    complaints: int

    def __str__(self) -> str:
        return (
            f"{self.storm}: converged {self.seconds:.1f} s after the last edit, {self.writes} "
            f"writes, {self.idle_writes} when idle, {self.complaints} complaints in logs"
        )


@dataclass(frozen=True)
class Terms:
    """How storms are endured: each operator converges within `limit` seconds after the last edit,
    and is watched for `idle` seconds after the storm."""

    pace: Pace
    limit: float
    idle: float


async def endure(bench: Bench, names: Sequence[str], seed: int, terms: Terms) -> list[Endured]:
    """Makes the same edits under each of the storms `names`, side by side.

    Raises AssertionError where one does not end, while the storm lasts, in the bytes of an
    undisturbed run, revisions of plans on the way apart.
    """
    async with AsyncExitStack() as stack:
        calm = await new_run(stack, bench, "calm")
        calm.history = False
        calm.start()
        await EDITS[0].act(calm.place)
        await calm.reach(None)
        for step in EDITS[1:]:
            await step.act(calm.place)
            await asyncio.sleep(0.5)
        wanted = await calm.reach(None)
        calm.stop()
        runs = {name: await new_run(stack, bench, name, pace=terms.pace) for name in names}
        jobs = []
        for name, run in runs.items():
            run.history, run.limit = False, terms.limit
            jobs.append(_weather(run, STORMS[name](seed), seed, wanted))
        times = await asyncio.gather(*jobs)
        await asyncio.sleep(5)
        since = time.monotonic()
        await asyncio.sleep(terms.idle)
        endured = []
        for (name, run), seconds in zip(runs.items(), times, strict=True):
            after, _ = await run.state()
            if after != wanted:
                raise AssertionError(f"{name}: moved\n{differences(wanted, after)}")
            writes = run.proxy.writes
            late = sum(write.at > since for write in writes)
            endured.append(Endured(name, seconds, len(writes), late, len(complaints(run.log))))
        return endured


async def _weather(run: Run, faults: Faults, seed: int, wanted: dict[str, str]) -> float:
    """Edits under `faults`, the wait for convergence, then calm. Seconds that it took."""
    draw = Random(seed)  # noqa: S311 - only pauses
    run.proxy.faults = faults
    run.start()
    await EDITS[0].act(run.place)
    await run.proxy.written.wait()
    began = time.monotonic()
    for step in EDITS[1:]:
        try:
            await step.act(run.place)
        except RefusedError as error:
            if error.status != 404:  # a child that is not there yet, or not again
                raise
        began = time.monotonic()
        await asyncio.sleep(draw.uniform(0.2, 2.0))
    await run.reach(wanted)
    run.proxy.faults = Peace()
    return time.monotonic() - began


async def notice_silence(bench: Bench, pace: Pace = SHIPPED, limit: float = 75.0) -> float:
    """Seconds from the moment at which all open watches fall silent, and an edit, to what follows
    from it. Raises AssertionError after `limit`."""
    async with AsyncExitStack() as stack:
        run = await new_run(stack, bench, "silence", pace=pace)
        run.start()
        await create().act(run.place)
        await run.reach(None)
        run.proxy.silence_watches()
        began = time.monotonic()
        await edit(pin=PIN).act(run.place)
        while time.monotonic() - began < limit:
            found = await bench.api.get("Deployment", run.place.namespaces[0], NAME)
            engine = (found or {})["spec"]["template"]["spec"]["containers"][0]
            if engine["resources"]["limits"][GPU] == "2":
                return time.monotonic() - began
            await asyncio.sleep(0.2)
        raise AssertionError(f"silent watches were not noticed within {limit:.0f} s")


async def outlast(bench: Bench, seconds: float) -> float:
    """Seconds from the end of an outage of the API server, of that length, to convergence upon an
    edit that was made in it. Raises AssertionError where the operator ends or takes too long."""
    async with AsyncExitStack() as stack:
        run = await new_run(stack, bench, "outage")
        run.start()
        await create().act(run.place)
        await run.reach(None)
        run.proxy.faults = Outage()
        await edit(pin=PIN).act(run.place)
        await asyncio.sleep(seconds)
        run.proxy.faults = Peace()
        began = time.monotonic()
        run.limit = LIMIT_SECONDS
        await run.reach(None)
        return run.last_write() - began
