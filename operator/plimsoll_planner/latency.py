"""TTFT and TPOT at a load, in closed form.

The engine runs one step after another. A step gives each running sequence a token; a step during
which prompts wait also takes a chunk of them, up to the token budget, and lasts longer. So:

* TPOT is the mean time between steps, at the number of running sequences that Little's law gives;
* TTFT is the rest of the running step, the wait behind other prompts (M/G/1: Pollaczek-Khinchine
  mean, exponential tail by Kingman's heavy-traffic limit), and the steps of the own prompt.

The 95th percentile of a sum of independent parts is taken as the means plus the root of the sum
of the squared distances of their percentiles from their means.
"""

import math
from dataclasses import dataclass

from plimsoll_planner.performance import StepTime
from plimsoll_planner.traffic import Z95, Traffic, p95_of_count

REQUEST_SECONDS = 0.01
"""Time outside of engine steps before the first token is sent: HTTP, template, tokenization."""
_ITERATIONS = 60
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Latency:
    """Latency of one replica at a load. Seconds; numbers of sequences and tokens.

    `utilisation` is the prompts' share of what the steps could take; `resident_p95` the tokens in
    the KV cache.
    """

    ttft_p95: float
    tpot_p95: float
    running_p95: float
    resident_p95: float
    utilisation: float


OVERLOADED = Latency(math.inf, math.inf, math.inf, math.inf, math.inf)
"""More arrives than can be served: queues grow without bound."""


@dataclass(frozen=True)
class Engine:
    """What serves: step times under the limits of one replica."""

    step: StepTime
    max_num_seqs: int
    max_num_batched_tokens: int

    def mixed(self, running: float, prompt_tokens: float, context: float, before: float) -> float:
        """Seconds of a step with `prompt_tokens` of prompts of which `before` are done already."""
        decoding = running * context
        return self.step(
            running + prompt_tokens,
            running + 1,
            decoding + before + prompt_tokens,
            decoding + prompt_tokens * (before + prompt_tokens / 2),
        )


def latency(engine: Engine, traffic: Traffic, rate: float) -> Latency:
    """Latency at `rate` requests per second; OVERLOADED where that cannot be kept up."""
    flow = _steady(engine, traffic, rate)
    if flow is None:
        return OVERLOADED
    running, gap, mixed, mixed_rate = flow
    context = traffic.context
    running_p95 = p95_of_count(running)
    crowded = min(running_p95, float(engine.max_num_seqs))
    slower = engine.step.decode(crowded, context) - engine.step.decode(running, context)
    decode = engine.step.decode(running, context)
    met = mixed_rate * traffic.output * gap
    disturbed = Z95 * math.sqrt(met) * (mixed - decode) / traffic.output
    tpot = gap + math.hypot(slower, disturbed)

    room = engine.max_num_batched_tokens - running
    full = engine.mixed(running, room, context, traffic.prompt / 2)
    service = full * traffic.prompt / room
    utilisation = rate * service
    if utilisation >= 1:
        return OVERLOADED
    behind = service * (1 + traffic.prompt_variation) / 2 / (1 - utilisation)
    wait = utilisation * behind
    wait_p95 = behind * math.log(utilisation / 0.05) if utilisation > 0.05 else 0.0
    share = min(1.0, mixed_rate * mixed)
    rest = (share * mixed + (1 - share) * decode) / 2
    rest_p95 = 0.95 * (mixed if share > 0.05 else decode)
    own = _prefill(engine, traffic, running, traffic.prompt)
    own_p95 = _prefill(engine, traffic, running, traffic.prompt_p95)
    spread = math.hypot(max(0.0, wait_p95 - wait), max(0.0, rest_p95 - rest), own_p95 - own)
    return Latency(
        ttft_p95=REQUEST_SECONDS + rest + wait + own + spread,
        tpot_p95=tpot,
        running_p95=running_p95,
        resident_p95=traffic.resident_p95(running),
        utilisation=utilisation,
    )


def full_batch_tpot(engine: Engine, traffic: Traffic, running: int) -> float:
    """Mean TPOT while always `running` sequences run, each that ends replaced by a new prompt.

    While a sequence emits its tokens, each of the others is replaced once, so that its steps also
    take `(running - 1) · prompt / output` tokens of prompts each on average. Infinite where the
    token budget leaves no room for prompts.
    """
    room = engine.max_num_batched_tokens - running
    decode = engine.step.decode(running, traffic.context)
    if room <= 0:
        return math.inf
    others = (running - 1) * traffic.prompt
    chunk = min(float(room), max(traffic.prompt, others / traffic.output))
    steps = others / chunk
    mixed = engine.mixed(running, chunk, traffic.context, traffic.prompt / 2)
    if steps >= traffic.output:
        return mixed
    return decode + steps / traffic.output * (mixed - decode)


def _steady(
    engine: Engine, traffic: Traffic, rate: float
) -> tuple[float, float, float, float] | None:
    """Sequences running, seconds between steps, seconds of a mixed step, mixed steps a second.

    The fixed point of Little's law `running = rate · output · gap`, reached from below, where the
    gap itself grows with the number running; None where there is none within the limits.
    """
    running, chunk = 0.0, traffic.prompt
    for _ in range(_ITERATIONS):
        room = engine.max_num_batched_tokens - running
        if room < 1 or running > engine.max_num_seqs:
            return None
        chunk = min(room, chunk)
        mixed = engine.mixed(running, chunk, traffic.context, traffic.prompt / 2)
        arriving = rate * traffic.prompt * mixed
        if arriving > room:
            return None
        # More than one prompt arrives in a step: they share the next one.
        chunk = max(traffic.prompt, arriving) if arriving <= room else room
        chunk = min(chunk, room)
        mixed_rate = rate * traffic.prompt / chunk
        decode = engine.step.decode(max(1.0, running), traffic.context)
        idle = max(0.0, 1 - mixed_rate * mixed)
        gap = 1 / (mixed_rate + idle / decode)
        after = rate * traffic.output * gap
        if abs(after - running) <= _TOLERANCE * max(1.0, running):
            return after, gap, mixed, mixed_rate
        running = after
    return None


def _prefill(engine: Engine, traffic: Traffic, running: float, prompt: float) -> float:
    """Seconds of the steps that a prompt of its own takes among `running` other sequences."""
    room = engine.max_num_batched_tokens - running
    whole = math.floor(prompt / room)
    rest = prompt - whole * room
    seconds = 0.0
    if whole:
        seconds += whole * engine.mixed(running, room, traffic.context, (whole - 1) * room / 2)
    if rest > 0:
        seconds += engine.mixed(running, rest, traffic.context, whole * room)
    return seconds
