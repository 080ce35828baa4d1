"""What an operator writes when there is nothing to do."""

import asyncio
import json
import time

from e2e.faults.operator_process import OperatorProcess, Start
from e2e.faults.proxy import ApiProxy, Write
from e2e.faults.run import Bench

SETTLE_SECONDS = 60.0
SETTLED_WITHIN_SECONDS = 300.0


async def idle_writes(bench: Bench, minutes: float) -> list[Write]:
    """Starts one operator for the whole cluster, with what is shipped, and lets it alone.

    What was undone for the whole cluster after a scenario may be news to it, and on a busy machine
    it takes a while to get to all resources, so what it writes counts once it has written nothing
    for a minute. Raises AssertionError where that takes over five, or the operator ends.
    """
    async with ApiProxy(bench.session, bench.upstream) as proxy:
        kubeconfig = bench.folder / "idle.kubeconfig"
        kubeconfig.write_text(json.dumps(proxy.kubeconfig))
        operator = OperatorProcess(Start(kubeconfig, bench.folder / "idle.log", ()))
        try:
            await _settled(proxy)
            since = time.monotonic()
            await asyncio.sleep(60 * minutes)
            if not operator.running:
                raise AssertionError(f"the operator has ended, see {operator.log}")
        finally:
            operator.kill()
        return [write for write in proxy.writes if write.at > since]


async def _settled(proxy: ApiProxy) -> None:
    began = time.monotonic()
    while True:
        last = max([began, *(write.at for write in proxy.writes)])
        left = last + SETTLE_SECONDS - time.monotonic()
        if left <= 0:
            return
        if time.monotonic() - began > SETTLED_WITHIN_SECONDS:
            raise AssertionError(f"it went on writing for {SETTLED_WITHIN_SECONDS:.0f} s")
        await asyncio.sleep(min(left, 1.0))
