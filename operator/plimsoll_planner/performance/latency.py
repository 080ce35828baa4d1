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
from collections.abc import Callable
from dataclasses import dataclass

from plimsoll_planner.performance.step_time import StepSeconds, outside
from plimsoll_planner.performance.traffic import Z95, Traffic

SKEWED_DEVIATIONS = 2.0
"""Standard deviations from mean to p95 of skewed times: 1.64 for normal, 2.0 for exponential."""
_SELDOM = 0.05
"""Others that run beside a request, on average, up to which fewer than 1 in 20 meets any."""
_ITERATIONS = 200
_SETTLING = 3
_FEWEST_CHUNKS = 1e-12
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

    step: StepSeconds
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

    def filled(self, running: float, chunk: float, context: float, prompt: float) -> float:
        """Seconds of a step with `chunk` tokens of prompts that are `prompt` long: of several, or
        a part of one. A prompt's token meets half of it on average."""
        decoding = running * context
        return self.step(
            running + chunk,
            running + max(1.0, chunk / prompt),
            decoding + chunk + max(0.0, prompt - chunk) / 2,
            decoding + chunk * prompt / 2,
        )


def latency(engine: Engine, traffic: Traffic, rate: float) -> Latency:
    """Latency at `rate` requests per second; OVERLOADED where that cannot be kept up."""
    flow = _steady(engine, traffic, rate)
    if flow is None:
        return OVERLOADED
    queue = _queue(engine, traffic, rate, flow)
    if queue.utilisation >= 1:
        return OVERLOADED
    running_p95 = _crowd(engine, traffic, rate, flow)
    crowded_by = max(2.0, running_p95) if flow.running > _SELDOM else running_p95
    crowd = _settled(engine, traffic, rate, min(crowded_by, float(engine.max_num_seqs)), flow.gap)
    crowded = max(0.0, crowd.gap - flow.gap)
    own = prompt_seconds(engine, traffic, flow.running, queue.joining + traffic.prompt)
    own_p95 = prompt_seconds(engine, traffic, flow.running, queue.joining + traffic.prompt_p95)
    wait_p95 = queue.behind * math.log(max(1.0, queue.utilisation / 0.05))
    spread = math.hypot(
        max(0.0, wait_p95 - queue.wait),
        max(0.0, queue.rest_p95 - queue.rest),
        own_p95 - own,
        crowded,
    )
    stalls = _stalls(traffic, rate, flow, queue, own)
    return Latency(
        ttft_p95=outside(engine.step, traffic.prompt) + queue.rest + queue.wait + own + spread,
        tpot_p95=flow.gap + stalls.mean + math.hypot(SKEWED_DEVIATIONS * stalls.deviation, crowded),
        running_p95=running_p95,
        resident_p95=traffic.resident_p95(flow.running, running_p95),
        utilisation=queue.utilisation,
    )


def mean_running(engine: Engine, traffic: Traffic, rate: float) -> float:
    """Sequences that run at a moment; as many as may where more arrives than can be served."""
    flow = _steady(engine, traffic, rate)
    return float(engine.max_num_seqs) if flow is None else flow.running


def prompt_share(engine: Engine, traffic: Traffic, rate: float) -> float | None:
    """Share of the engine's work that prompts are, the rest being decode; None if overloaded.

    In the seconds that each takes by itself: a prompt its own steps, an answer `output` decode
    steps that it shares with the sequences beside it. What steps do at once is not told apart.
    """
    flow = _steady(engine, traffic, rate)
    if flow is None:
        return None
    prompt = prompt_seconds(engine, traffic, 0.0, traffic.prompt)
    answer = traffic.output * flow.decode / max(1.0, flow.running)
    return prompt / (prompt + answer)


@dataclass(frozen=True)
class _Flow:
    """The engine in a steady state: mean seconds between steps, of a step without prompts and of
    one with, and how many prompts (or chunks, where a prompt takes several steps) join a step."""

    running: float
    gap: float
    decode: float
    mixed: float
    joining: float


@dataclass(frozen=True)
class _Queue:
    """What a prompt meets. Seconds: `rest` of the running step, `wait` for prompts before it and
    `behind`, that wait if there is one; `service` of one prompt; `joining` tokens of others that
    share its steps."""

    rest: float
    rest_p95: float
    wait: float
    behind: float
    service: float
    joining: float
    utilisation: float


@dataclass(frozen=True)
class _Stalls:
    """What prompts add to the TPOT of a request beyond the mean gap, in seconds."""

    mean: float
    deviation: float


def _queue(engine: Engine, traffic: Traffic, rate: float, flow: _Flow) -> _Queue:
    room = engine.max_num_batched_tokens - flow.running
    full = engine.filled(flow.running, room, traffic.context, traffic.prompt)
    service = full * traffic.prompt / room
    utilisation = rate * service
    behind = service * (1 + traffic.prompt_variation) / 2 / max(1e-9, 1 - utilisation)
    plain = math.exp(-flow.joining) * flow.decode / flow.gap
    share = 1 - min(1.0, plain)
    # A moment falls into a step in proportion to its length, and half of it is left on average.
    met = share * flow.mixed + (1 - share) * flow.decode
    return _Queue(
        rest=met / 2,
        rest_p95=0.95 * (flow.mixed if share > 0.05 else flow.decode),
        wait=utilisation * behind,
        behind=behind,
        service=service,
        joining=min(room, rate * met * traffic.prompt),
        utilisation=utilisation,
    )


def _stalls(traffic: Traffic, rate: float, flow: _Flow, queue: _Queue, own: float) -> _Stalls:
    """Prompts that fall into the life of a request, or wait when its output begins.

    Short outputs feel each of them more, `E[1/output] = (1 + cv²) / mean` for lognormal ones, and
    while steps are slow more prompts come, by the factor `1 / (1 - rate · stall)`.
    """
    stall = max(0.0, flow.gap - flow.decode) / (rate * flow.gap)
    share = 1 - flow.decode / max(flow.mixed, flow.decode)
    amplified = 1 / (1 - min(0.95, rate * stall))
    short, prompts = 1 + traffic.output_variation, 1 + traffic.prompt_variation
    arrived = rate * own * queue.service
    backlog = share * (queue.wait + arrived)
    begun = 2 * queue.utilisation * queue.behind**2 - queue.wait**2
    begun += arrived * queue.service * prompts
    during = rate * flow.gap * stall**2 * prompts * short / traffic.output
    before = share**2 * max(0.0, begun) * short**3 / traffic.output**2
    return _Stalls(
        mean=backlog * amplified * short / traffic.output,
        deviation=amplified * math.sqrt(during + before),
    )


def _crowd(engine: Engine, traffic: Traffic, rate: float, flow: _Flow) -> float:
    """95th percentile of the sequences running.

    Poisson if their number did not slow them down (M/G/∞); as it does, it swings more: the
    linear-noise approximation of a birth-death process whose death rate per sequence falls with
    elasticity `g` gives a variance of `mean / (1 - g)`.
    """
    slower = _settled(engine, traffic, rate, flow.running * 1.05, flow.gap).gap
    elasticity = math.log(slower / flow.gap) / math.log(1.05)
    variance = flow.running / (1 - min(0.95, max(0.0, elasticity)))
    return flow.running + Z95 * math.sqrt(variance)


def full_batch_tpot(engine: Engine, traffic: Traffic, running: float) -> float:
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
    mixed = engine.filled(running, chunk, traffic.context, traffic.prompt)
    if steps >= traffic.output:
        return mixed
    return decode + steps / traffic.output * (mixed - decode)


def _steady(engine: Engine, traffic: Traffic, rate: float) -> _Flow | None:
    """The fixed point of Little's law `running = rate · output · gap`, where the gap itself grows
    with the number running; None where there is none within the limits.

    Reached from below, two steps at a time and then one by Aitken's extrapolation. That overshoots
    where the gap is concave in itself, as while more sequences touch more experts: then the fixed
    point lies between the last step and there.
    """
    arriving = rate * traffic.output
    most = min(float(engine.max_num_seqs), engine.max_num_batched_tokens - 1.0) / arriving

    def after(gap: float) -> _Flow:
        return _flow(engine, traffic, rate, arriving * gap, gap)

    gap, flow = 0.0, after(0.0)
    for _ in range(_ITERATIONS):
        if flow.gap - gap <= _TOLERANCE * flow.gap:
            return flow
        if flow.gap > most:
            return None
        following = after(flow.gap)
        first, second = flow.gap - gap, following.gap - flow.gap
        gap, flow = flow.gap, following
        if not 0 < second < first:
            continue
        ahead = min(most, following.gap + second * second / (first - second))
        there = after(ahead)
        if there.gap < ahead:
            return _between(after, (gap, following), (ahead, there))
        if ahead < most:
            gap, flow = ahead, there
    return None


def _between(
    after: Callable[[float], _Flow], low: tuple[float, _Flow], high: tuple[float, _Flow]
) -> _Flow:
    """The fixed point between a gap that a longer one follows and one that a shorter one follows,
    by regula falsi, halving the weight of an end that stays (the Illinois algorithm)."""
    (left, flow), (right, beyond) = low, high
    rise, fall = flow.gap - left, right - beyond.gap
    for _ in range(_ITERATIONS):
        middle = left + (right - left) * rise / (rise + fall)
        flow = after(middle)
        change = flow.gap - middle
        if abs(change) <= _TOLERANCE * flow.gap:
            break
        if change > 0:
            left, rise, fall = middle, change, fall / 2
        else:
            right, rise, fall = middle, rise / 2, -change
    return flow


def _settled(engine: Engine, traffic: Traffic, rate: float, running: float, gap: float) -> _Flow:
    """The steps with `running` sequences, whatever their number would settle at."""
    for _ in range(_SETTLING):
        gap = _flow(engine, traffic, rate, running, gap).gap
    return _flow(engine, traffic, rate, running, gap)


def _flow(engine: Engine, traffic: Traffic, rate: float, running: float, gap: float) -> _Flow:
    """The steps with `running` sequences after steps of `gap` seconds.

    As many prompts join a step as arrive during the one before it, a Poisson number `k`. A prompt
    beyond the token budget comes as several chunks, one a step. The mean of a step over `k` is
    taken as `P(0) · step(0) + P(k > 0) · step(E[k | k > 0])`, which is exact where steps are linear
    in `k > 0`, for few prompts and for many.
    """
    room = max(1.0, engine.max_num_batched_tokens - running)
    chunk = min(traffic.prompt, room)
    whole = chunk == traffic.prompt
    before = 0.0 if whole else traffic.prompt / 2
    decoding = running * traffic.context

    def mixed(chunks: float) -> float:
        return engine.step(
            running + chunks * chunk,
            max(1.0, running) + chunks * chunk / traffic.prompt,
            decoding + chunks * (before + chunk),
            decoding + chunks * chunk * (before + chunk / 2),
        )

    chunks = rate * traffic.prompt / chunk * gap
    plain = math.exp(-chunks)
    decode = engine.step(running, max(1.0, running), decoding, decoding)
    if chunks > _FEWEST_CHUNKS:
        joined = -math.expm1(-chunks)
        mean = plain * decode + joined * mixed(chunks / joined)
    else:
        mean = decode
    many = max(1.0, chunks) if whole else 1.0
    return _Flow(running=running, gap=mean, decode=decode, mixed=mixed(many), joining=chunks)


def prompt_seconds(engine: Engine, traffic: Traffic, running: float, prompt: float) -> float:
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
