"""Draws `docs/fairness.svg`: a light tenant's time to first token beside a flood.

Run from the repository's root: `PYTHONPATH=runtime python -m docs.plots.fairness`. The scheduler is
the engine's; only the model is replaced by the time that a step of it would take. Takes seconds,
and gives the same every time.
"""

import math
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

SVG = Path(__file__).parents[1] / "fairness.svg"

STEP_SECONDS, TOKEN_SECONDS, CONTEXT_SECONDS = 6e-3, 26e-6, 0.043e-6
"""Of a step, of each token that it computes and of each in the KV cache that it reads: Llama 3.1 8B
in bfloat16 on one H100, from the planner's roofline, rounded and added up."""
LIMITS = EngineLimits(
    max_num_seqs=128,
    max_num_batched_tokens=2048,
    max_model_len=4096,
    num_blocks=24_576,
    enable_prefix_caching=False,
)
OUTPUT_TOKENS = (100, 300)
"""Fewest and most, evenly distributed, of both tenants."""
REQUESTS, RATE = 300, 4.0
"""Requests of the light tenant, and how many it sends a second (Poisson): a twelfth of what the
engine can serve of the shorter ones, a ninth of the longer ones."""
BACKLOG = 200
"""Requests that the flooding tenant keeps waiting: each that is served is replaced at once."""
URGENT = -1
"""Priority of the light tenant's requests; it counts under one policy only."""
WARM_UP_SECONDS = 10.0
"""Until the light tenant's first request; the flood has filled the engine by then."""
WORKLOADS = {"prompts of 20 to 200 tokens": (20, 200), "prompts of 100 to 600 tokens": (100, 600)}


@dataclass(frozen=True)
class Outcome:
    """The light tenant's seconds to first token, sorted, and the mean seconds of a step."""

    waits: list[float]
    step: float

    def percentile(self, percent: float) -> float:
        """By nearest rank."""
        return self.waits[max(0, math.ceil(percent / 100 * len(self.waits)) - 1)]


Outcomes = dict[str, Outcome]
"""By the name of the case."""


def step_seconds(output: SchedulerOutput) -> float:
    """How long the model takes for a step."""
    tokens, context = output.num_tokens, output.num_context_tokens
    return STEP_SECONDS + TOKEN_SECONDS * tokens + CONTEXT_SECONDS * context


class Tenant:
    """Makes requests up; the same ones every time."""

    def __init__(self, name: str, prompt_tokens: tuple[int, int], seed: int) -> None:
        self.name = name
        self.sent = 0
        self.rng = random.Random(seed)  # noqa: S311
        self._prompt_tokens = prompt_tokens

    def request(self, arrival: float, priority: int = 0) -> Request:
        """The next one."""
        prompt = [1] * self.rng.randint(*self._prompt_tokens)
        sampling = SamplingParams(self.rng.randint(*OUTPUT_TOKENS))
        name = f"{self.name}-{self.sent}"
        self.sent += 1
        return Request(name, prompt, sampling, arrival, priority, tenant=self.name)


def serve(prompt_tokens: tuple[int, int], policy: SchedulingPolicy, *, flooded: bool) -> Outcome:
    """Both tenants' requests through the scheduler, until the light one's have begun."""
    light, flood = Tenant("light", prompt_tokens, 0), Tenant("flood", prompt_tokens, 1)
    clock = random.Random(2)  # noqa: S311
    arrivals = [WARM_UP_SECONDS]
    while len(arrivals) < REQUESTS:
        arrivals.append(arrivals[-1] + clock.expovariate(RATE))
    scheduler = Scheduler(LIMITS, policy=policy)
    waits: dict[str, float] = {}
    arrived: dict[str, float] = {}
    now = busy = 0.0
    steps = 0
    while len(waits) < REQUESTS:
        if not flooded and not scheduler.has_unfinished():
            now = max(now, arrivals[light.sent])
        while light.sent < REQUESTS and arrivals[light.sent] <= now:
            request = light.request(arrivals[light.sent], URGENT)
            arrived[request.request_id] = request.arrival_time
            scheduler.add(request)
        while flooded and scheduler.num_waiting < BACKLOG:
            scheduler.add(flood.request(now))
        output = scheduler.schedule(now)
        seconds = step_seconds(output)
        now, busy, steps = now + seconds, busy + seconds, steps + 1
        sampled = {item.request_id: 1 for item in output.scheduled if item.samples}
        for made in scheduler.update(output, StepResult(sampled)):
            if made.request_id in arrived:
                waits.setdefault(made.request_id, now - arrived[made.request_id])
    return Outcome(sorted(waits.values()), busy / steps)


def outcomes(prompt_tokens: tuple[int, int]) -> Outcomes:
    """The light tenant alone, and beside the flood under each policy.

    `priority` lets it go before the flood wherever it can: the best that an order can do for it.
    """
    fair, priority, fcfs = SchedulingPolicy
    return {
        "alone": serve(prompt_tokens, fair, flooded=False),
        "fair": serve(prompt_tokens, fair, flooded=True),
        "priority": serve(prompt_tokens, priority, flooded=True),
        "fcfs": serve(prompt_tokens, fcfs, flooded=True),
    }


def readable(seconds: float) -> str:
    """Three digits at most."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def table(workloads: dict[str, Outcomes]) -> str:
    """The figures in Markdown."""
    lines = [
        "| | | p50 | p95 | p99 | p95 to alone | mean step |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for workload, cases in workloads.items():
        for case, outcome in cases.items():
            figures = [readable(outcome.percentile(percent)) for percent in (50, 95, 99)]
            ratio = outcome.percentile(95) / cases["alone"].percentile(95)
            factor = f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"
            cells = [workload, case, *figures, factor, f"{outcome.step * 1000:.1f} ms"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


WIDTH, HEIGHT = 900, 400
PANEL_WIDTH, PANEL_HEIGHT, TOP, LEFT, GAP = 300, 270, 72, 64, 136
LEAST, MOST = 0.005, 10.0
"""Seconds at the ends of the logarithmic axis."""
COLOURS = {"alone": "#4d4d4d", "fair": "#0072b2", "fcfs": "#d55e00"}
"""Of the cases that are drawn."""
TITLE = "A light tenant's time to first token beside a tenant that floods"


def height(seconds: float) -> float:
    """Pixels from the top of the picture."""
    return TOP + PANEL_HEIGHT * math.log(MOST / seconds) / math.log(MOST / LEAST)


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Words whose line ends, begins or is centred at x."""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, more: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def panel(left: float, workload: str, cases: Outcomes) -> Iterable[str]:
    """One workload's axes and curves."""
    right, bottom = left + PANEL_WIDTH, TOP + PANEL_HEIGHT
    yield text(left, TOP - 12, workload, ' font-weight="bold"')
    for mark in ("10 ms", "100 ms", "1 s", "10 s"):
        amount, unit = mark.split()
        y = height(float(amount) * (0.001 if unit == "ms" else 1))
        yield line(left, y, right, y, 'stroke="#dddddd"')
        yield text(left - 6, y + 4, mark, ' text-anchor="end"')
    yield line(left, bottom, right, bottom, 'stroke="#333333"')
    for percent in (0, 25, 50, 75, 95):
        x = left + PANEL_WIDTH * percent / 100
        yield line(x, bottom, x, bottom + 5, 'stroke="#333333"')
        yield text(x, bottom + 19, f"p{percent}", ' text-anchor="middle"')
    at95 = left + PANEL_WIDTH * 0.95
    yield line(at95, TOP, at95, bottom, 'stroke="#dddddd"')
    twice = height(2 * cases["alone"].percentile(95))
    yield line(left, twice, right, twice, 'stroke="#4d4d4d" stroke-dasharray="4 4"')
    yield text(left + 4, twice - 5, "twice the p95 alone", ' fill="#4d4d4d"')
    for case, colour in COLOURS.items():
        outcome = cases[case]
        points = " ".join(
            f"{left + PANEL_WIDTH * percent / 100:.1f},{height(outcome.percentile(percent)):.1f}"
            for percent in range(101)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        y = height(outcome.percentile(95))
        yield f'<circle cx="{at95:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
        words = f"{case} {readable(outcome.percentile(95))}"
        yield text(right + 6, y + 4, words, f' fill="{colour}"')


def picture(workloads: dict[str, Outcomes]) -> str:
    """The SVG: percentiles from left to right, time upwards."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#222222">',
        f"<title>{TITLE}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 28, TITLE, ' font-size="15" font-weight="bold"'),
    ]
    for number, (workload, cases) in enumerate(workloads.items()):
        parts += panel(LEFT + number * (PANEL_WIDTH + GAP), workload, cases)
    parts.append(text(LEFT, HEIGHT - 14, "percentile of its requests; the figures are p95"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Writes the picture, prints the table."""
    found = {workload: outcomes(tokens) for workload, tokens in WORKLOADS.items()}
    SVG.write_text(picture(found), encoding="utf-8")
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main()
