"""Where ways out of an infeasible request are looked for."""

import math
from dataclasses import dataclass, replace

from plimsoll_planner.inputs import Objectives, PlanRequest
from plimsoll_planner.search.finalists import finals
from plimsoll_planner.search.search import Bid, Market, search
from plimsoll_planner.search.trial import Trials

Change = tuple[str, PlanRequest]
"""What to change, in words, and the request after it."""
_MORE = (1.0, 1.05, 1.1, 1.25)


@dataclass(frozen=True)
class Scene:
    """An infeasible market, its bids by rank, the nearest first, and what tries changes out."""

    market: Market
    bids: tuple[Bid, ...]
    trials: Trials

    def promising(self, objectives: Objectives) -> PlanRequest:
        """The request with other objectives."""
        return replace(self.market.request, objectives=objectives)

    def counts(self, needed: float) -> tuple[int, ...]:
        """Numbers of replicas to try where the closed formulas say how many are needed."""
        if math.isinf(needed):
            return ()
        factors = _MORE if self.trials.requests else (1.0,)
        return tuple(dict.fromkeys(math.ceil(needed * factor) for factor in factors))

    def best(self, request: PlanRequest) -> Bid | None:
        """The cheapest feasible bid for another request; None where there is none."""
        bids = finals(search(request, self.market.remembered), self.trials, settled=False)
        return bids[0] if bids and bids[0].feasible else None
