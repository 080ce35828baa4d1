"""What an operator writes when there is nothing to do."""

import asyncio
import json
import time

from e2e.faults.operator_process import OperatorProcess, Start
from e2e.faults.proxy import ApiProxy, Write
from e2e.faults.run import Bench

SETTLE_SECONDS = 60.0


async def idle_writes(bench: Bench, minutes: float) -> list[Write]:
    """Starts one operator for the whole cluster, with what is shipped, and lets it alone.

    What was undone for the whole cluster after a scenario may be news to it, so the first minute
    does not count.
    """
    async with ApiProxy(bench.session, bench.upstream) as proxy:
        kubeconfig = bench.folder / "idle.kubeconfig"
        kubeconfig.write_text(json.dumps(proxy.kubeconfig))
        operator = OperatorProcess(Start(kubeconfig, bench.folder / "idle.log", ()))
        try:
            await asyncio.sleep(SETTLE_SECONDS)
            since = time.monotonic()
            await asyncio.sleep(60 * minutes)
            if not operator.running:
                raise AssertionError(f"the operator has ended, see {operator.log}")
        finally:
            operator.kill()
        return [write for write in proxy.writes if write.at > since]
