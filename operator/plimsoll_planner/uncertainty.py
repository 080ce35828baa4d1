"""How sure a prediction is: the range that 8 of 10 measurements fall into.

The ranges are quantiles of measured over predicted of the published figures that the tests hold
the performance model to (`docs/predictions.md`), of all GPUs and engines. They are not of the
points that its constants were fitted on, which lie much closer. A calibrated accelerator has the
error of its own fit instead, and beside it that of the formulas for traffic, which those figures
include.
"""

import math
from dataclasses import dataclass

from plimsoll_planner.accelerator import Accelerator

_FROM_MEDIAN = 1.9
"""80th percentile of a normal error's size over its median: 1.2816 / 0.6745."""
_OF_19_IN_20 = 0.654
"""80th over 95th percentile of a normal error's size: 1.2816 / 1.96."""
_QUEUEING = 1.5
"""Share by which an error of the step times grows in a TTFT that waits in queues."""
_TRAFFIC = 0.10
"""8 of 10 percentiles in closed form are so near to what the scheduler does with the same step
times: of 17 loads from idle to half of a replica's capacity, of the kinds in `test_latency`."""


@dataclass(frozen=True)
class Range:
    """Factors of a prediction between which 8 of 10 measurements lie."""

    low: float
    high: float

    def beside(self, error: float | None) -> "Range":
        """The range where another, independent error comes to it: a share of the prediction that
        19 of 20 lie within, as a simulation tells of itself."""
        own = _OF_19_IN_20 * (error or 0.0)
        low, high = math.hypot(1 - self.low, own), math.hypot(self.high - 1, own)
        return Range(max(0.0, 1 - low), 1 + high)

    def of(self, prediction: float) -> tuple[float, float]:
        """The range of a prediction, in its unit."""
        return prediction * self.low, prediction * self.high


@dataclass(frozen=True)
class Uncertainty:
    """Of a prediction's time per output token and time to first token, and what it is known by."""

    tpot: Range
    ttft: Range
    basis: str

    def beside(self, ttft_error: float | None, tpot_error: float | None) -> "Uncertainty":
        """The same of percentiles that come from a simulation, which err themselves."""
        tpot, ttft = self.tpot.beside(tpot_error), self.ttft.beside(ttft_error)
        return Uncertainty(tpot, ttft, self.basis)


PUBLISHED = Uncertainty(Range(0.75, 1.60), Range(0.40, 2.50), "by published figures of others")


def uncertainty(accelerator: Accelerator) -> Uncertainty:
    """How sure predictions on `accelerator` are."""
    error = accelerator.efficiency.error
    if error is not None:
        wide = 1 + math.hypot(_FROM_MEDIAN * error, _TRAFFIC)
        queued = 1 + math.hypot(_QUEUEING * _FROM_MEDIAN * error, _TRAFFIC)
        basis = f"by its calibration, which is off by {error:.1%}"
        return Uncertainty(Range(1 / wide, wide), Range(1 / queued, queued), basis)
    return PUBLISHED
