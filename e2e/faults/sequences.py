"""spec → other → spec on the real API server, in several namespaces at once."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from e2e.faults.api import RefusedError
from e2e.faults.operator_process import OperatorProcess, Start
from e2e.faults.proxy import ApiProxy
from e2e.faults.run import LIVELY, Bench, Run, State
from e2e.faults.scenarios import NAME, Place, served
from e2e.faults.state import RESOURCE, differences
from e2e.support.kubectl import condition

Object = dict[str, Any]


class Lanes:
    """`count` namespaces with one LLMDeployment each, and one operator for all of them."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.steps = self.refused = self.compared = 0
        self.log = bench.folder / "lanes.log"
        self._bench = bench
        self._count = count
        self._lanes: list[Run] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Lanes":
        bench, enter = self._bench, self._stack.enter_async_context
        proxy = await enter(ApiProxy(bench.session, bench.upstream))
        names = [await bench.namespace(f"lane-{number}") for number in range(self._count)]
        for name in names:
            self._stack.push_async_callback(bench.api.delete, "Namespace", "", name)
            await bench.api.create(served(), name)
        kubeconfig = self.log.with_suffix(".kubeconfig")
        kubeconfig.write_text(json.dumps(proxy.kubeconfig))
        operator = OperatorProcess(Start(kubeconfig, self.log, tuple(names), LIVELY))
        self._stack.callback(operator.kill)
        for name in names:
            # Each watches its own namespace, and the one operator that serves them all.
            lane = Run(bench, Place(bench.api, (name,)), proxy, process=operator)
            lane.history = False
            self._lanes.append(lane)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def there_and_back(self, pairs: list[tuple[Object, Object]]) -> None:
        """Each of `pairs` in a lane of its own: the first spec, the second, the first again.

        Raises AssertionError where the children then are not what they were, byte by byte.
        """
        async with asyncio.TaskGroup() as group:  # which ends the others when one has failed
            for lane, pair in zip(self._lanes, pairs, strict=False):
                group.create_task(self._one(lane, *pair))

    async def _one(self, lane: Run, spec: Object, other: Object) -> None:
        if not await self._put(lane, spec):
            raise AssertionError(f"refused, but it should be good: {spec}")
        before = await self._rest(lane)
        if (told := await self._in_the_way(lane)) is not None:
            raise AssertionError(f"a plan should exist: {told}\n{spec}")
        accepted = await self._put(lane, other)
        if accepted:
            await lane.seen()
        await self._put(lane, spec)
        after = await self._rest(lane)
        if before != after:
            raise AssertionError(f"{spec}\n{other}\n{differences(before, after)}")
        self.compared += 1

    async def _rest(self, lane: Run) -> State:
        """The children once nothing is on its way."""
        state = await lane.reach(None)
        return {name: text for name, text in state.items() if RESOURCE not in name.split()[1]}

    async def _in_the_way(self, lane: Run) -> str | None:
        """What is said where the present spec is not what serves."""
        found = await self._bench.api.get(RESOURCE, lane.place.namespaces[0], NAME)
        told = condition(found, "SLOFeasible")
        return None if told is None or told["status"] == "True" else str(told["message"])

    async def _put(self, lane: Run, spec: Object) -> bool:
        """Replaces the spec. Returns whether the API server accepts it."""
        self.steps += 1
        try:
            await self._bench.api.replace_spec(RESOURCE, lane.place.namespaces[0], NAME, spec)
        except RefusedError as error:
            if error.status not in (400, 422):
                raise
            self.refused += 1
            return False
        return True
