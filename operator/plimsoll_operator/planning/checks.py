"""What makes a check of a pull request fail, and with which exit code."""

from collections.abc import Collection, Iterable
from enum import StrEnum

from plimsoll_planner.result import PlanResult


class Check(StrEnum):
    """Something that may be wrong with a plan or with its change."""

    SLO = "slo"
    COST = "cost"
    COST_INCREASE = "cost-increase"
    RESTART = "restart"


EXIT_CODES = {Check.SLO: 3, Check.COST: 4, Check.COST_INCREASE: 5, Check.RESTART: 6}
MEANING = {
    Check.SLO: "a latency or the rate cannot hold",
    Check.COST: "only maxCostPerMillionTokens cannot hold, or a price is missing for it",
    Check.COST_INCREASE: "with --diff: more is spent per hour than before",
    Check.RESTART: "with --diff: engine pods are replaced",
}
OF_A_CHANGE = frozenset({Check.COST_INCREASE, Check.RESTART})
DEFAULT = (Check.SLO, Check.COST)


def checks_of(text: str) -> tuple[Check, ...]:
    """From `slo,cost`, or `none`. Raises ValueError naming what there is."""
    if text == "none":
        return ()
    known = ", ".join(Check)
    try:
        return tuple(Check(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise ValueError(f"{text!r}: give none, or some of {known}, with commas") from error


def failed_promises(results: Iterable[PlanResult]) -> set[Check]:
    """Which kinds of promise cannot hold in at least one of the plans."""
    infeasible = [result for result in results if not result.feasible]
    return {Check.COST if result.too_dear else Check.SLO for result in infeasible}


def exit_code(failed: Collection[Check], wanted: Collection[Check]) -> int:
    """Of the first check in the order of their codes that failed and is wanted; else 0."""
    return next(
        (code for check, code in EXIT_CODES.items() if check in failed and check in wanted), 0
    )
