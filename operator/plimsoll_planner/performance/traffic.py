"""What can be said of random traffic from a few figures of it."""

import math
from dataclasses import dataclass

from plimsoll_planner.inputs import Lengths, Workload

Z95 = 1.6448536269514722
"""95th percentile of the standard normal distribution."""
MAX_SIGMA = Z95
"""A lognormal's p95 over mean grows with sigma only up to here (ratio 3.87)."""


def squared_variation(lengths: Lengths) -> float:
    """(standard deviation / mean)² of lognormal lengths with this mean and 95th percentile.

    `p95 / mean = exp(z·s - s²/2)` is solved for s; the squared variation is `exp(s²) - 1`.
    """
    ratio = lengths.p95 / lengths.mean
    if ratio <= 1:
        return 0.0
    below_root = Z95 * Z95 - 2 * math.log(ratio)
    sigma = Z95 - math.sqrt(below_root) if below_root > 0 else MAX_SIGMA
    return math.exp(sigma * sigma) - 1


@dataclass(frozen=True)
class Traffic:
    """A workload reduced to what latency depends on; lengths in tokens, cut at `limit` in sum.

    `context` is the mean length of a running sequence at a random moment: its whole prompt and,
    since long outputs are met more often, `(1 + cv²) / 2` of the mean output.
    `context_variation` is that length's squared variation. A shared prefix saves nothing yet: the
    engine computes every prompt in full.
    """

    prompt: float
    prompt_p95: float
    prompt_variation: float
    output: float
    output_variation: float
    context: float
    context_variation: float

    @classmethod
    def of(cls, workload: Workload, limit: int) -> "Traffic":
        prompt, output = workload.prompt_tokens, workload.output_tokens
        of_prompt, of_output = squared_variation(prompt), squared_variation(output)
        generated = output.mean * (1 + of_output) / 2
        context = min(float(limit), prompt.mean + generated)
        spread = of_prompt * prompt.mean**2 + (1 + of_output) ** 2 / 4 * output.mean**2
        return cls(
            prompt=float(min(prompt.mean, limit)),
            prompt_p95=float(min(prompt.p95, limit)),
            prompt_variation=of_prompt,
            output=float(min(output.mean, limit)),
            output_variation=of_output,
            context=context,
            context_variation=spread / context**2,
        )

    def resident_p95(self, running: float, running_p95: float) -> float:
        """95th percentile of the tokens in the KV cache, given those of the sequences running.

        Number and lengths vary independently: `var = mean_n · var_l + var_n · mean_l²`.
        """
        lengths = Z95 * math.sqrt(running * self.context_variation)
        return self.context * (running + math.hypot(running_p95 - running, lengths))
