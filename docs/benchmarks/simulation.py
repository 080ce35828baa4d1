"""How fast the planner simulates: requests per second of processor time, on one core.

Run from the repository's root: `PYTHONPATH=operator:runtime python -m docs.benchmarks.simulation`.
10,000 requests of 500 tokens with answers of 200 on one replica, at 80 % of its capacity; with
prefix caching, as the engine has it by default, and without; and at a tenth of the capacity, where
the steps are many. Takes about ten seconds.
"""

import sys
import time
from dataclasses import replace

from plimsoll_planner.inputs import Lengths, Objectives, Workload
from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.load_curve import capacity
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, Window, simulate
from plimsoll_planner.simulation.summary import summary
from plimsoll_runtime.core.limits import EngineLimits

REQUESTS = 10_000
STEP = StepTime(0.01, 3.2e-3, 2.6e-5, 0.0, 2.2e-5, 4.5e-3, 1.7e-6, 3.5e-4, 4.3e-8, 8.4e-10)
"""About that of Llama 3.1 8B in bfloat16 on one H100."""
LIMITS = EngineLimits(256, 8192, 8192, num_blocks=24_576)
TRAFFIC = RandomTraffic(Workload(1.0, Lengths(500, 500), Lengths(200, 200)))


def main() -> None:
    """Prints one line for each case."""
    plain = ReplicaModel(STEP, replace(LIMITS, enable_prefix_caching=False))
    most = capacity(plain, TRAFFIC.arrivals(1.0, LIMITS.max_model_len, 0))
    for name, caching, share in (
        ("80 % load, prefix caching", True, 0.8),
        ("80 % load", False, 0.8),
        ("10 % load", False, 0.1),
    ):
        model = ReplicaModel(STEP, replace(LIMITS, enable_prefix_caching=caching))
        arrivals = TRAFFIC.arrivals(share * most, LIMITS.max_model_len, 0)
        begin = time.process_time()
        run = simulate(Fleet(model), arrivals, Window(0, REQUESTS))
        found = summary(run, Objectives())
        seconds = time.process_time() - begin
        sys.stdout.write(
            f"{name:<28}{seconds:6.2f} s  {REQUESTS / seconds:7.0f} requests/s  "
            f"{run.steps.sampled / seconds:9.0f} tokens/s  {found.running:5.0f} running\n"
        )


if __name__ == "__main__":
    main()
