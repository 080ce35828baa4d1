"""What closed formulas say of shapes, remembered for one plan.

It depends neither on the load, the nodes nor on costs, and ways out of an infeasible request search
again and again with other ones of these.
"""

from collections.abc import Hashable
from dataclasses import replace

from plimsoll_planner.inputs import Objectives
from plimsoll_planner.models.model import Model
from plimsoll_planner.search.options import Demand, DoesNotFitError, Option, options, sustained_rate
from plimsoll_planner.search.shape import Shape


class Remembered:
    """`options` and the rates that they sustain, each found once."""

    def __init__(self) -> None:
        self._options: dict[Hashable, list[Option] | DoesNotFitError] = {}
        self._rates: dict[Hashable, float] = {}
        self._models: dict[int, Model] = {}

    def options(self, demand: Demand, shape: Shape, memory_bytes: int) -> list[Option]:
        """As `options.options`. Raises DoesNotFitError."""
        key = (*self._asked(demand), demand.pin, demand.reserves, shape, memory_bytes)
        if key not in self._options:
            try:
                self._options[key] = options(demand, shape, memory_bytes)
            except DoesNotFitError as error:
                self._options[key] = error
        found = self._options[key]
        if isinstance(found, DoesNotFitError):
            raise DoesNotFitError(str(found), found.shortfall)
        return found

    def sustained(self, option: Option, demand: Demand, slack: float = 1.0) -> float:
        """As `options.sustained_rate`."""
        key = (*self._asked(demand), option.engine, option.memory, slack)
        if key not in self._rates:
            self._rates[key] = sustained_rate(option.engine, option.memory, demand, slack)
        return self._rates[key]

    def highest(self, option: Option, demand: Demand) -> float:
        """The highest rate that does not overload the option, whatever its latency."""
        found = self.sustained(option, replace(demand, objectives=Objectives()))
        alone = demand.traffic.output * option.engine.step.decode(1, demand.traffic.context)
        return found or 1e-4 / alone

    def _asked(self, demand: Demand) -> tuple[Hashable, ...]:
        """All of the demand that the formulas see; the model by identity, as hashing all its layers
        takes long."""
        model = demand.facts.model
        self._models[id(model)] = model
        promised = demand.objectives
        return (
            id(model),
            demand.traffic,
            promised.ttft_p95,
            promised.tpot_p95,
            demand.max_model_len,
            demand.draft,
        )
