"""What a plan costs: per hour, and per million tokens at a load."""

from dataclasses import dataclass

from plimsoll_planner.inputs import Workload
from plimsoll_planner.performance.latency import prompt_share
from plimsoll_planner.search.search import Bid, Market
from plimsoll_planner.text import round_up

_MILLION = 1e6
_HOUR = 3600.0


@dataclass(frozen=True)
class TokenCost:
    """Cost per million tokens at `requests_per_second` over all replicas, in the prices' currency.

    `output_alone` puts all of the cost on output tokens: what maxCostPerMillionTokens bounds.
    `prompt` and `output` share it as prompts and decode share the engine's work, so that both
    together pay for the replicas, idle time included; None where more arrives than they serve.
    """

    requests_per_second: float
    output_alone: float
    prompt: float | None
    output: float | None


@dataclass(frozen=True)
class Cost:
    """`full_load` is what the replicas sustain; None where they keep the promise at no load."""

    per_hour: float
    planned_load: TokenCost
    full_load: TokenCost | None


def cost_of(market: Market, bid: Bid) -> Cost | None:
    """What `bid` costs; None where a price is unknown."""
    per_hour = bid.cost_per_hour
    if per_hour is None:
        return None

    def at(load: float) -> TokenCost:
        rate = load / bid.replicas
        share = prompt_share(bid.option.engine, market.demand.traffic, rate)
        return token_cost(per_hour, market.request.workload, load, share)

    most = bid.option.sustained * bid.replicas
    return Cost(
        per_hour=per_hour,
        planned_load=at(market.request.workload.requests_per_second),
        full_load=at(most) if most else None,
    )


def token_cost(per_hour: float, workload: Workload, load: float, share: float | None) -> TokenCost:
    """Cost at `load` requests per second, of which prompts cause `share`. Rounded up."""
    prompts, outputs = (
        load * lengths.mean * _HOUR / _MILLION
        for lengths in (workload.prompt_tokens, workload.output_tokens)
    )
    return TokenCost(
        requests_per_second=load,
        output_alone=round_up(per_hour / outputs),
        prompt=None if share is None else round_up(per_hour * share / prompts),
        output=None if share is None else round_up(per_hour * (1 - share) / outputs),
    )
