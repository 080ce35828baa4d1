"""One operator in namespaces of its own, and the wait for what should come of it."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from e2e.faults.api import Api
from e2e.faults.operator_process import OperatorProcess, Pace, Start
from e2e.faults.proxy import ApiProxy, Write
from e2e.faults.scenarios import Place
from e2e.faults.state import RESOURCE, canonical, differences, read, rolled_out, told

LIMIT_SECONDS = 30.0
"""From a start of the operator after a crash to the state that would have been without it."""
PATIENCE = float(os.environ.get("PLIMSOLL_FAULTS_PATIENCE", "1"))
"""How many times longer convergence may take before it is given up, on a machine whose cores others
use too. What took longer than LIMIT_SECONDS is counted all the same."""
UNDISTURBED_SECONDS = 120.0
QUIET_SECONDS = 0.7
SETTLED_SECONDS = 2.0
LOOK_SECONDS = 0.4

LIVELY = Pace(resync=5.0)
"""More looks than what is shipped, so that a short idle time holds several."""

SERVES = 'manager", "message": "serving '
"""What an operator logs when it begins to work."""

State = dict[str, str]


@dataclass(frozen=True)
class Bench:
    """What scenarios run on: the cluster as an administrator and as the operator (at `upstream`)
    reach it, and a `folder` for logs. Namespaces bear the `tag`, and stay if `keep`."""

    session: aiohttp.ClientSession
    api: Api
    upstream: str
    folder: Path
    tag: str
    keep: bool = False

    async def namespace(self, name: str) -> str:
        """A new namespace, called after `name`."""
        full = f"faults-{self.tag}-{name}"
        await self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": full}})
        return full


@dataclass
class Run:
    """One operator in namespaces of its own, killed after the write `crash_at` (1 is the first)."""

    bench: Bench
    place: Place
    proxy: ApiProxy
    pace: Pace = LIVELY
    crash_at: int | None = None
    history: bool = True
    """Whether ControllerRevisions are compared, which tell of what there was on the way."""
    limit: float = UNDISTURBED_SECONDS
    counted: int = 0
    armed: bool = False
    crashed: bool = False
    seconds: float = 0.0
    """From the start after the crash to convergence."""
    starved: float = 0.0
    """Of these, for how many the operator at least waited for a core."""
    idle_writes: Sequence[str] = ()
    starts: int = 0
    process: OperatorProcess | None = None

    @property
    def name(self) -> str:
        return self.place.namespaces[0]

    @property
    def log(self) -> Path:
        return self.bench.folder / f"{self.place.namespaces[0]}.log"

    async def __call__(self, write: Write) -> bool:
        """Counts a write; kills the operator if it is the one."""
        if not self.armed:
            return False
        self.counted += 1
        if self.crashed or self.counted != self.crash_at:
            return False
        self.crashed = True
        self.stop()
        return True

    def start(self) -> None:
        kubeconfig = self.log.with_suffix(".kubeconfig")
        kubeconfig.write_text(json.dumps(self.proxy.kubeconfig))
        self.starts += 1
        self.process = OperatorProcess(
            Start(kubeconfig, self.log, self.place.namespaces, self.pace)
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None

    def serves(self) -> bool:
        """Whether the operator has listed all and begun to work."""
        if self.process is None or not self.process.log.exists():
            return False
        return self.process.log.read_text().count(SERVES) >= max(1, self.starts)

    async def state(self) -> tuple[State, bool]:
        """All that is compared, and whether the cluster's own controllers are done with it."""
        state: State = {}
        done = True
        for number, namespace in enumerate(self.place.namespaces):
            objects = await read(self.bench.api, namespace)
            done = done and rolled_out(objects)
            for name, text in canonical(objects, namespace).items():
                if self.history or not name.startswith("ControllerRevision"):
                    state[f"{number} {name}"] = text
        return state, done

    def last_write(self) -> float:
        """When something was last written here; the proxy may serve other namespaces too."""
        for write in reversed(self.proxy.writes):
            if any(f"/{namespace}/" in write.path for namespace in self.place.namespaces):
                return write.at
        return 0.0

    async def seen(self) -> None:
        """Waits until the operator has said something of today's specs, whatever that is."""
        began = time.monotonic()
        while time.monotonic() - began < self.limit:
            for namespace in self.place.namespaces:
                items = await self.bench.api.list(RESOURCE, namespace)
                if all(told(item) for item in items):
                    return
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"{self.name}: nothing was said within {self.limit:.0f} s")

    async def reach(self, wanted: State | None) -> State:
        """Waits for `wanted`, or where it is None for rest; revives the operator when it is dead.

        Raises AssertionError where that is not reached in time, or an operator ends by itself.
        """
        began = time.monotonic()
        before: State = {}
        since = began
        while True:
            if self.process is None:
                self.start()
                began = since = time.monotonic()
            elif not self.process.running:
                raise AssertionError(f"{self.name}: the operator has ended, see {self.log}")
            quiet = SETTLED_SECONDS if wanted is None else QUIET_SECONDS
            if not self.serves():
                since = time.monotonic()
            # As long as it writes nobody need look; and each look is a list of every kind.
            elif time.monotonic() - max(self.last_write(), since) > quiet:
                state, done = await self.state()
                reached = done and state == before if wanted is None else state == wanted
                if reached and self.process is not None:
                    seconds = max(self.last_write(), since) - began
                    if self.crashed and seconds > self.seconds:
                        self.seconds, self.starved = seconds, self.process.waited()
                    return state
                if state != before:
                    before, since = state, time.monotonic()
            limit = PATIENCE * (LIMIT_SECONDS if self.crashed else self.limit)
            if time.monotonic() - began > limit:
                text = differences(wanted or {}, before)
                raise AssertionError(f"{self.name}: not within {limit:.0f} s\n{text}")
            await asyncio.sleep(LOOK_SECONDS)


async def new_run(
    stack: AsyncExitStack, bench: Bench, label: str, count: int = 1, pace: Pace = LIVELY
) -> Run:
    """A run in `count` new namespaces, not started yet; it ends with `stack`."""
    names = [label, *(f"{label}-{number}" for number in range(2, count + 1))]
    namespaces = tuple([await bench.namespace(name) for name in names])
    if not bench.keep:
        for namespace in namespaces:
            stack.push_async_callback(bench.api.delete, "Namespace", "", namespace)
    proxy = await stack.enter_async_context(ApiProxy(bench.session, bench.upstream))
    run = Run(bench, Place(bench.api, namespaces), proxy, pace)
    stack.callback(run.stop)
    return run
