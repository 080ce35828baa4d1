"""Random traffic from a few figures: arrivals, lengths, tenants."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import itemgetter
from random import Random
from statistics import NormalDist

from plimsoll_planner.inputs import Lengths, Workload
from plimsoll_planner.performance.traffic import squared_variation
from plimsoll_planner.simulation.arrival import Arrival

SHARED_PREFIX = 1
"""The prefix id of what all prompts of a workload begin with."""
POISSON = 1.0
"""Coefficient of variation of the gaps between the arrivals of a Poisson process."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Sender:
    """A part of the traffic: requests of one tenant and priority, `share` of all by weight."""

    tenant: str = ""
    priority: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class RandomTraffic:
    """What random requests are like.

    Gaps are gamma-distributed with the coefficient of variation `gap_variation`: 1 is Poisson,
    more is bursty, 0 even. Lengths are lognormal with the workload's means and 95th percentiles.
    With a `stratum`, every so many requests in a row have gaps and lengths from all over their
    distributions, and so nearly the declared means, which makes short simulations far surer.
    """

    workload: Workload
    gap_variation: float = POISSON
    senders: tuple[Sender, ...] = (Sender(),)
    stratum: int = 1

    def arrivals(self, rate: float, max_model_len: int, seed: int) -> Iterator[Arrival]:
        """Endless requests, `rate` a second, cut to the context.

        With the same seed another rate gives the same requests at other times, so that loads are
        compared on equal traffic. Raises ValueError for a rate or a variation out of range.
        """
        if not 0 < rate < math.inf:
            raise ValueError(f"the rate must be above 0 requests per second, not {rate}")
        gaps = gamma_gaps(self.gap_variation, self._stream(seed, "gaps"))
        prompts = lognormal_lengths(self.workload.prompt_tokens, self._stream(seed, "prompts"))
        outputs = lognormal_lengths(self.workload.output_tokens, self._stream(seed, "outputs"))
        senders = self._senders(stream(seed, "senders"))
        shared = self.workload.shared_prefix_tokens
        prefix_ids = (SHARED_PREFIX,) if shared else ()
        at = 0.0
        for gap, prompt, output, sender in zip(gaps, prompts, outputs, senders, strict=False):
            at += gap / rate
            yield Arrival(
                at, prompt, output, prefix_ids, sender.tenant, sender.priority, max(1, shared)
            ).within(max_model_len)

    def underway(self, count: int, max_model_len: int, seed: int) -> Iterator[Arrival]:
        """So many requests as run at a moment, at time 0: what each has got so far is a part of its
        prompt.

        A moment meets a long answer more often, by its length, and anywhere in it: lognormal
        lengths then have the mean `mean · (1 + cv²)` and the same sigma.
        """
        outputs = self.workload.output_tokens
        bias = 1 + squared_variation(outputs)
        longer = Lengths(round(outputs.mean * bias), round(outputs.p95 * bias))
        prompts = lognormal_lengths(self.workload.prompt_tokens, stream(seed, "prompts underway"))
        answers = lognormal_lengths(longer, stream(seed, "outputs underway"))
        shares = stream(seed, "shares underway")
        for prompt, answer in islice(zip(prompts, answers, strict=False), count):
            left = max(1, round(answer * shares.random()))
            yield Arrival(0.0, prompt + answer - left, left).within(max_model_len)

    def _stream(self, seed: int, name: str) -> Random:
        if self.stratum == 1:
            return stream(seed, name)
        found = Stratified(f"{seed} {name}")
        found.size = self.stratum
        return found

    def _senders(self, rng: Random) -> Iterator[Sender]:
        edges = list(accumulate(sender.share for sender in self.senders))
        while True:
            point = rng.random() * edges[-1]
            yield self.senders[bisect_right(edges, point)]


class Stratified(Random):
    """Random numbers of which every `size` in a row are one from each `size`-th part of 0 to 1."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.size = 1
        self._left: list[float] = []

    def random(self) -> float:
        """The next of them."""
        if not self._left:
            draw = super().random
            points = [((part + draw()) / self.size, draw()) for part in range(self.size)]
            points.sort(key=itemgetter(1))
            self._left = [point for point, _ in points]
        return self._left.pop()


def gamma_gaps(variation: float, rng: Random) -> Iterator[float]:
    """Gaps with mean 1 and this coefficient of variation. Raises ValueError where it is negative.

    `shape = 1 / variation²`, `scale = variation²`; shape 1 is the exponential distribution.
    """
    if not 0 <= variation < math.inf:
        raise ValueError(f"the variation of gaps must be at least 0, not {variation}")
    square = variation * variation
    while True:
        if square == 0:
            yield 1.0
        elif square == 1:
            yield -math.log(1.0 - rng.random())
        else:
            yield rng.gammavariate(1 / square, square)


def lognormal_lengths(lengths: Lengths, rng: Random) -> Iterator[int]:
    """Lengths of at least 1 with this mean and 95th percentile."""
    sigma = math.sqrt(math.log(1 + squared_variation(lengths)))
    mu = math.log(lengths.mean) - sigma * sigma / 2
    while True:
        # One draw a length, so that streams stay in step whatever the figures are.
        normal = _NORMAL.inv_cdf(min(max(rng.random(), 1e-12), 1 - 1e-12))
        yield max(1, round(math.exp(mu + sigma * normal)))


def stream(seed: int, name: str) -> Random:
    """Random numbers of their own for each use, so that one more draw here moves none there."""
    return Random(f"{seed} {name}")  # noqa: S311
