"""What this machine can do at most in this minute: memory bandwidth and bfloat16 products.

`python -m e2e.peers.roofline THREADS` prints both as JSON, in a process that nothing else runs in.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from plimsoll_planner.model_facts import ModelFacts

FLOATS = 64 * 2**20
"""256 MiB, more than any cache."""
SIDE = 2048
REPEATS, SECONDS = 5, 0.3


@dataclass(frozen=True)
class Roofline:
    """Bytes per second that are read, FLOP per second of a product of bfloat16 matrices."""

    bandwidth: float
    flops: float

    def tpot(self, facts: ModelFacts) -> float:
        """Seconds of a token alone: every weight is read once. bfloat16."""
        return 2 * (facts.linear_parameters + facts.head_parameters) / self.bandwidth

    def prefill(self, facts: ModelFacts, tokens: int) -> float:
        """Tokens per second of a prompt: two operations for each weight and token; the head is
        needed once. Attention is left out, which is a few percent here."""
        work = 2 * (facts.linear_parameters * tokens + facts.head_parameters)
        return tokens * self.flops / work


def best_of(found: list[Roofline]) -> Roofline:
    """The medians."""
    return Roofline(
        statistics.median(each.bandwidth for each in found),
        statistics.median(each.flops for each in found),
    )


def measure(threads: int) -> Roofline:
    """Now."""
    torch.set_num_threads(threads)
    numbers = torch.rand(FLOATS)
    left, right = (torch.randn(SIDE, SIDE).to(torch.bfloat16) for _ in range(2))
    bandwidth = _rate(numbers.sum, 4.0 * FLOATS)
    return Roofline(bandwidth, _rate(lambda: left @ right, 2.0 * SIDE**3))


def _rate(compute: Callable[[], object], work: float) -> float:
    """The best of a few: what the machine can do when it is let."""
    compute()
    found = []
    for _ in range(REPEATS):
        count, begun = 0, time.perf_counter()
        while (seconds := time.perf_counter() - begun) < SECONDS or not count:
            compute()
            count += 1
        found.append(work * count / seconds)
    return max(found)


if __name__ == "__main__":
    made = measure(int(sys.argv[1]))
    sys.stdout.write(json.dumps({"bandwidth": made.bandwidth, "flops": made.flops}))
