"""What the steps of a simulation were like, in sum: millions of them need no memory."""

import math
from collections import Counter
from dataclasses import dataclass, field

from plimsoll_planner.simulation.replica import Step

_PER_E = 100
"""Classes of gaps for a factor of e: each is 1 % wide."""


@dataclass
class StepTotals:
    """Sums over steps; `seconds` are those of computing, on all replicas.

    `block_seconds`, `running_seconds` and `waiting_seconds` are weighted with the time that a step
    took; `gaps` counts, in classes 1 % wide, the times between two tokens of a sequence.
    """

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    sampled: int = 0
    block_seconds: float = 0.0
    running_seconds: float = 0.0
    waiting_seconds: float = 0.0
    most_blocks: int = 0
    most_running: int = 0
    gaps: Counter[int] = field(default_factory=Counter)

    def add(self, step: Step) -> None:
        """Counts a step."""
        self.steps += 1
        self.seconds += step.seconds
        self.tokens += step.load.tokens
        self.sampled += step.load.sampled
        self.block_seconds += step.seconds * step.used_blocks
        self.running_seconds += step.seconds * step.running
        self.waiting_seconds += step.seconds * step.waiting
        self.most_blocks = max(self.most_blocks, step.used_blocks)
        self.most_running = max(self.most_running, step.running)
        if step.gaps:
            self.gaps[math.floor(math.log(step.seconds) * _PER_E)] += step.gaps

    def gap(self, share: float) -> float | None:
        """The time that `share` of the gaps do not exceed, within half a percent; None without any.

        A sequence that was preempted waits longer than the step, which is not counted here.
        """
        rank = math.ceil(share * self.gaps.total())
        for index, count in sorted(self.gaps.items()):
            rank -= count
            if rank <= 0:
                return math.exp((index + 0.5) / _PER_E)
        return None
