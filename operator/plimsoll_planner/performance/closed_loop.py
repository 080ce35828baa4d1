"""Latency of a closed loop: a fixed number of clients, each with one request at a time.

That is how engines are benchmarked (`vllm bench serve --max-concurrency`, aiperf, genai-perf,
InferenceMAX), and what a full batch means. By Little's law a request is either running or waits:

* running sequences are the clients, as far as the KV cache holds their mean context; and a step of
  `budget` tokens that gives `n` sequences a token completes `(budget - n) / prompt` prompts, of
  which each decodes `output` steps: no more than `budget · output / (prompt + output)` decode;
* TPOT: while a request emits its tokens, every other running one is replaced once, so that its
  steps also take the prompts of `running - 1` others (`latency.full_batch_tpot`);
* TTFT: the request's own way in, half a decode step, its own prompt and, on average, half of
  another one that came just before; the wait for a place in the cache, `(clients / running - 1)`
  lives of a request; and the start: a benchmark sends its first `clients` prompts at once, so that
  these wait for half of all of them. Over `rounds · clients` requests that adds
  `running · prompt / 2 / rounds` to the mean, which is what the measurements show: TTFT grows with
  the clients by 1/20 to 1/12 of a prompt's time, whatever the length of the answers.
"""

from dataclasses import dataclass

from plimsoll_planner.performance.latency import Engine, full_batch_tpot, prompt_seconds
from plimsoll_planner.performance.step_time import outside
from plimsoll_planner.performance.traffic import Traffic

ROUNDS = 6
"""Requests that benchmarks send for each client: 10 is common, some send 3 or 5."""
PROMPTS_MET = 0.5
"""Prompts of others that are computed before the own one: half of one, on average."""


@dataclass(frozen=True)
class ClosedLoop:
    """Means over a run. Seconds; `running` sequences; rates per second."""

    ttft: float
    tpot: float
    running: float
    requests_per_second: float
    output_tokens_per_second: float


def closed_loop(
    engine: Engine,
    traffic: Traffic,
    clients: float,
    kv_cache_tokens: float,
    rounds: float = ROUNDS,
) -> ClosedLoop:
    """What `clients` see of one replica, and how much it serves them."""
    replaced = traffic.output / (traffic.prompt + traffic.output)
    running = min(
        clients,
        engine.max_num_seqs,
        kv_cache_tokens / traffic.context,
        engine.max_num_batched_tokens * replaced,
    )
    running = max(1.0, running)
    tpot = full_batch_tpot(engine, traffic, running)
    decode = engine.step.decode(running, traffic.context)
    own = prompt_seconds(engine, traffic, running, traffic.prompt)
    budget = float(engine.max_num_batched_tokens)
    prompt = engine.filled(0.0, budget, 0.0, traffic.prompt) * traffic.prompt / budget
    first = decode / 2 + own + PROMPTS_MET * prompt
    life = first + (traffic.output - 1) * tpot
    wait = (clients / running - 1) * life
    apart = outside(engine.step, traffic.prompt)
    ttft = apart + first + wait + running * prompt / 2 / rounds
    rate = clients / (wait + life + apart)
    return ClosedLoop(ttft, tpot, running, rate, rate * traffic.output)
