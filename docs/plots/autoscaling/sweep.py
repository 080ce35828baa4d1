"""Each law with its documented parameters, and with others that may suit a trace better."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Protocol

from docs.plots.autoscaling.cases import Planned
from docs.plots.autoscaling.law import Law
from docs.plots.autoscaling.ours import Ours
from docs.plots.autoscaling.peers import KPA, Behavior, Fixed, KubeAI, QueueDepthHPA, SLOAware
from plimsoll_operator.scaling.demand import Capacity

OURS = "Plimsoll"
FIXED = "a fixed count"
PEERS = ("HPA", "KPA", "KubeAI", "llm-d")
SHARES = (0.1, 0.25, 0.5, 0.7)
"""Targets of requests in a replica, of the plan's `max_num_seqs`."""
BANDS = ((0.40, 0.30), (0.55, 0.40), (0.70, 0.50), (0.85, 0.60), (1.0, 0.75), (1.2, 0.9))


class Make(Protocol):
    """Makes a law as it is before it has seen anything."""

    def __call__(self) -> Law: ...


@dataclass(frozen=True)
class Entry:
    """A law with parameters; `is_documented` says that they are its own defaults."""

    law: str
    parameters: str
    is_documented: bool
    make: Make


def capacity_of(planned: Planned) -> Capacity:
    """What the plan says of a replica."""
    objectives = planned.case.objectives
    return Capacity(
        planned.plan.max_num_seqs,
        planned.plan.predicted.requests_per_second_per_replica,
        objectives.ttft_p95,
        objectives.tpot_p95,
    )


def entries(planned: Planned) -> Iterator[Entry]:
    """All that are tried on a case. Ours is the operator's with a resource's defaults, once."""
    case, slots = planned.case, planned.plan.max_num_seqs
    ours = partial(Ours, capacity_of(planned), case.max_replicas)
    yield Entry(OURS, "defaults", True, ours)  # noqa: FBT003
    for count in range(1, 15):
        yield Entry(FIXED, str(count), False, partial(Fixed, count))  # noqa: FBT003
    for target, window in product((1, 5, 20), (300.0, 900.0)):
        make = partial(_hpa, target, window)
        yield Entry(
            "HPA", f"{target} waiting, down {window:g} s", (target, window) == (5, 300), make
        )
    for share, delay in product(SHARES, (0.0, 300.0, 900.0)):
        text = f"target {share:.0%}, delay {delay:g} s"
        make_kpa = partial(KPA, share * slots, 60.0, delay)
        yield Entry("KPA", text, (share, delay) == (0.7, 0), make_kpa)
    for share, window, delay in product(SHARES, (60.0, 600.0), (30.0, 300.0, 900.0)):
        text = f"target {share:.0%}, window {window:g} s, delay {delay:g} s"
        make_kubeai = partial(KubeAI, share * slots, window, delay)
        yield Entry("KubeAI", text, (share, window, delay) == (0.7, 600, 30), make_kubeai)
    ttft, tpot = case.objectives.ttft_p95 or 1e9, case.objectives.tpot_p95 or 1e9
    for up, down in BANDS:
        make_slo = partial(SLOAware, ttft, tpot, up, down)
        yield Entry("llm-d", f"band {down:g} to {up:g}", (up, down) == (0.55, 0.40), make_slo)


def _hpa(target: int, window: float) -> QueueDepthHPA:
    return QueueDepthHPA(target, Behavior(down_window=window))
