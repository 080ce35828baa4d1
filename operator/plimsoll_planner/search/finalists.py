"""The cheapest bid that keeps its promises in a simulation, among those that might.

The closed formulas say how many replicas a bid may do with at best: where all that bounds it may
be exceeded by `SLACK`, more than they err by. Best first, a bid is then tried at its replicas'
share of the load. If it keeps its promises there, nothing cheaper does, and it wins; if not, it
sustains less than that share, and whatever is cheapest then comes next: more replicas, another
token budget, another shape.
"""

from dataclasses import dataclass, replace

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.performance.latency import OVERLOADED, Latency
from plimsoll_planner.search.options import Demand, Option
from plimsoll_planner.search.partial_trial import Attempt, Measured
from plimsoll_planner.search.search import Bid, Broken, Market, bid_for, ranking
from plimsoll_planner.search.trial import Trials
from plimsoll_planner.simulation.trace import cached_share
from plimsoll_planner.text import round_down

SLACK = 1.25
"""How far off the closed formulas may be: tests hold them to within a quarter of the simulation."""
_MOST = 32
"""Trials until no plan is found."""
_LESS = (0.95, 0.9, 0.8, 0.65, 0.5)
"""What an option is then taken to sustain of the rate that it failed at, the first time and later:
it is seldom far off, and where it is, that must show soon."""
_PRECISION = 0.04
"""Of the rate that a replica is said to sustain, as a share of it."""
_ROUGHLY = 0.1
"""The same where no plan is feasible."""
_NOTHING = 0.004
"""Of a rate that fails: what lies below is taken for none, as a promise that breaks alone breaks at
any rate."""


@dataclass(frozen=True)
class _Judge:
    market: Market
    trials: Trials

    def try_out(self, option: Option, rate: float) -> Attempt:
        workload, length = self.market.request.workload, self.market.demand.max_model_len
        return self.trials.attempt(workload, length, option, rate)

    def keeps(self, found: Attempt) -> bool:
        return found.keeps(self.market.demand.objectives)


def finals(market: Market, trials: Trials, *, settled: bool = True) -> list[Bid]:
    """All bids by rank. The first, if it is feasible, keeps its promises by simulation too.

    If it is to be `settled`, so is the rate that it sustains; else no more was tried than what it
    is to serve. Without trials it is the ranking of the closed formulas.
    """
    if not trials.requests:
        return ranking(market.bids)
    judge = _Judge(market, trials)
    demand = _at_best(market)
    hopes = [_hope(market, bid, demand) for bid in market.bids]
    failures = [0] * len(hopes)
    for _ in range(_MOST):
        best = next(iter(ranking(tuple(hopes))), None)
        if best is None or not best.feasible:
            return _none(judge, hopes, settled=settled)
        index = next(i for i, bid in enumerate(hopes) if bid is best)
        found = judge.try_out(best.option, best.rate)
        if judge.keeps(found):
            best = _shown(best, found.measured)
            if settled or failures[index] > 1:
                best = _settled(judge, best)
            others = _known(market, hopes)
            return [best, *ranking((*others[:index], *others[index + 1 :]))]
        factor = _LESS[min(failures[index], len(_LESS) - 1)]
        failures[index] += 1
        hopes[index] = _lowered(market, best, found, factor)
        _lower_alike(market, hopes, best, found, factor)
    return _none(judge, [_given_up(bid) for bid in hopes], settled=settled)


def _hope(market: Market, bid: Bid, demand: Demand) -> Bid:
    """The bid as good as it can be at best."""
    option = bid.option
    most = market.remembered.sustained(option, demand, SLACK)
    return bid_for(market, bid, most) if most > option.sustained else bid


def _at_best(market: Market) -> Demand:
    """The demand where a prefix cache finds all that ever came before. The closed formulas compute
    every prompt in full, which for the conversations of a trace is far too much."""
    demand, trace = market.demand, market.request.workload.trace
    if trace is None:
        return demand
    own, traffic = 1 - cached_share(trace.arrivals), demand.traffic
    lighter = replace(
        traffic,
        prompt=max(1.0, traffic.prompt * own),
        prompt_p95=max(1.0, traffic.prompt_p95 * own),
    )
    return replace(demand, traffic=lighter)


def _shown(bid: Bid, found: Measured) -> Bid:
    predicted = replace(bid.predicted, ttft_p95=found.ttft_p95, tpot_p95=found.tpot_p95)
    return replace(bid, predicted=predicted, measured=found)


def _given_up(bid: Bid) -> Bid:
    return replace(bid, broken=bid.broken or Broken.RATE, shortage=max(1.0, bid.shortage))


def _known(market: Market, hopes: list[Bid]) -> list[Bid]:
    """The bids as the closed formulas have them, or as far as trials have not refuted them."""
    return [
        hope if hope.refuted is not None else bid
        for hope, bid in zip(hopes, market.bids, strict=True)
    ]


def _lowered(market: Market, bid: Bid, found: Attempt, factor: float) -> Bid:
    """The bid if it sustains only so much of the rate at which it failed, or else what it would
    have to with as many replicas as there may be."""
    share = market.request.workload.requests_per_second / max(1, bid.bound)
    less = max(found.rate * factor, share) if share < found.rate else found.rate * factor
    return bid_for(market, replace(bid, refuted=found), less)


def _lower_alike(
    market: Market, hopes: list[Bid], failed: Bid, found: Attempt, factor: float
) -> None:
    """Other token budgets on the same shape fail too if they would be no better by as much as the
    closed formulas were off at the one that failed."""
    demand, rate = market.demand, failed.rate
    closed = failed.option.latency(demand, rate)
    if closed is OVERLOADED:
        return
    for i, bid in enumerate(hopes):
        alike = bid.shape == failed.shape and bid.product == failed.product
        if not alike or bid.option.sustained < rate:
            continue
        own = bid.option.latency(demand, rate)
        if _breaks_alike(found, demand.objectives, own, closed):
            hopes[i] = _lowered(market, bid, found, factor)


def _breaks_alike(found: Attempt, promised: Objectives, own: Latency, closed: Latency) -> bool:
    """Whether a promise breaks where the closed formulas say `own` instead of `closed`, by which
    they are as far off. What is known so far may do to say so."""
    for known in (found.at_least, lambda: found.measured):
        seen = known()
        likely = replace(
            seen,
            ttft_p95=own.ttft_p95 * seen.ttft_p95 / closed.ttft_p95,
            tpot_p95=own.tpot_p95 * seen.tpot_p95 / closed.tpot_p95,
        )
        if likely.breaks(promised):
            return True
    return False


def _settled(judge: _Judge, bid: Bid) -> Bid:
    """The bid with what a replica sustains, and with fewer replicas if that allows it."""
    low, refuted = _sustained(judge, bid, bid.rate)
    kept = replace(bid, option=replace(bid.option, sustained=low), refuted=refuted)
    found = bid_for(judge.market, kept, low)
    if found.replicas >= bid.replicas:
        return replace(kept, needed=found.needed)
    again = judge.try_out(found.option, found.rate)
    return _shown(found, again.measured) if judge.keeps(again) else kept


def _sustained(
    judge: _Judge, bid: Bid, low: float, *, precision: float = _PRECISION
) -> tuple[float, Attempt | None]:
    """The highest rate that keeps the promises, and a trial just above it that does not, if any.

    `low` keeps them; what the bid sustains may or may not, and what refuted it does not.
    """
    option, least, high, refuted = bid.option, low, bid.option.sustained, bid.refuted
    if refuted is None:
        if high <= low:
            return low, None
        found = judge.try_out(option, high)
        if judge.keeps(found):
            return high, None
        refuted = found
    while refuted.rate - low > max(precision * refuted.rate, _NOTHING * high):
        found = judge.try_out(option, (low + refuted.rate) / 2)
        if judge.keeps(found):
            low = found.rate
        else:
            refuted = found
    return max(least, round_down(low)), refuted


def _none(judge: _Judge, hopes: list[Bid], *, settled: bool) -> list[Bid]:
    """The ranking of an infeasible market, the nearest bid with what it does by simulation."""
    known = [_given_up(bid) if bid.feasible else bid for bid in _known(judge.market, hopes)]
    ranked = ranking(tuple(known))
    if not settled or not ranked:
        return ranked
    nearest, *others = ranked
    if nearest.option.sustained:
        hope = hopes[known.index(nearest)]
        low, refuted = _sustained(judge, hope, 0.0, precision=_ROUGHLY)
        nearest = bid_for(judge.market, replace(nearest, refuted=refuted), low)
        if nearest.feasible:
            nearest = _given_up(nearest)
    return [_shown(nearest, judge.try_out(nearest.option, nearest.rate).measured), *others]
