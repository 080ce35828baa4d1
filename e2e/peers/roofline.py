"""What this machine can do at most in this minute: memory bandwidth and matrix products."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from e2e.peers.engine import Precision
from plimsoll_planner.model_facts import ModelFacts

FLOATS = 64 * 2**20
"""256 MiB, more than any cache."""
SIDE = 2048
REPEATS, SECONDS = 4, 0.1


class Work(NamedTuple):
    """Tokens: of `prompts`, shared ones once; of `outputs` of all `requests`, the last of which are
    not passed on; and of the `longest` answer."""

    prompts: int
    outputs: int
    requests: int
    longest: int


@dataclass(frozen=True)
class Roofline:
    """Bytes per second that are read, operations per second of products of bfloat16 matrices, in
    fp32 where that is faster, and of 8-bit ones."""

    bandwidth: float
    flops: float
    int8_ops: float

    def tpot(self, facts: ModelFacts, precision: Precision) -> float:
        """Seconds of a token alone: every weight is read once."""
        size = 2 if precision is Precision.BF16 else 1
        return size * (facts.linear_parameters + facts.head_parameters) / self.bandwidth

    def prefill(self, facts: ModelFacts, tokens: int, precision: Precision) -> float:
        """Tokens per second of a prompt: two operations for each weight and token; the head is
        needed once. Attention is left out, which is a few percent here."""
        work = 2 * (facts.linear_parameters * tokens + facts.head_parameters)
        return tokens * (self.flops if precision is Precision.BF16 else self.int8_ops) / work

    def seconds(self, facts: ModelFacts, work: Work, precision: Precision) -> float:
        """The least that all of it can take at once: the products of every token, or the weights
        read for each step of the longest answer, whichever is more. Attention is left out."""
        passes = work.prompts + work.outputs - work.requests
        products = 2 * (facts.linear_parameters * passes + facts.head_parameters * work.outputs)
        rate = self.flops if precision is Precision.BF16 else self.int8_ops
        return max(products / rate, work.longest * self.tpot(facts, precision))


def median_of(found: Sequence[Roofline]) -> Roofline:
    """The medians."""
    return Roofline(
        statistics.median(each.bandwidth for each in found),
        statistics.median(each.flops for each in found),
        statistics.median(each.int8_ops for each in found),
    )


def measure(threads: int) -> Roofline:
    """Now, in some two seconds."""
    torch.set_num_threads(threads)
    numbers = torch.rand(FLOATS)
    left, right = (torch.randn(SIDE, SIDE).to(torch.bfloat16) for _ in range(2))
    left8, right8 = (torch.randint(-99, 99, (SIDE, SIDE), dtype=torch.int8) for _ in range(2))
    wide, wide_too = left.float(), right.float()
    product = 2.0 * SIDE**3
    return Roofline(
        _rate(numbers.sum, 4.0 * FLOATS),
        # Without bf16 instructions engines widen the numbers, and torch emulates the products.
        max(_rate(lambda: left @ right, product), _rate(lambda: wide @ wide_too, product)),
        _rate(lambda: torch._int_mm(left8, right8), product),
    )


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
