"""Which replicas go when there should be fewer, and how far they are: pure, from what is there.

A ReplicaSet deletes pods that are not ready before those that are. So whoever should go is drained,
which makes it not ready, and the count falls when it has nothing in flight any more. Nothing is
remembered: whether an engine drains, and since when, it says itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_operator.render.engine import GRACE_SECONDS

MOST_AT_ONCE = 8
"""Replicas of one resource that drain at the same time."""
DRAIN_SECONDS = float(GRACE_SECONDS)
"""Seconds after which a replica goes all the same; the pod then has its own grace period."""
LEASE_SECONDS = DRAIN_SECONDS + 30.0
"""Seconds after which an engine is ready again by itself, as when the operator is gone."""


@dataclass(frozen=True)
class DrainReport:
    """What an engine says: for how many `seconds` it drains, None where it does not; requests that
    run or wait, and the share of its KV cache in use."""

    seconds: float | None
    unfinished: int
    kv_cache_usage: float


@dataclass(frozen=True)
class Replica:
    """A pod that counts. `ready` is what the ReplicaSet goes by, `created` a time in RFC 3339;
    `report` is None where the engine was not asked or did not answer."""

    name: str
    ready: bool
    created: str = ""
    report: DrainReport | None = None

    @property
    def drains(self) -> bool:
        """Whether the engine says that it drains."""
        return self.report is not None and self.report.seconds is not None

    @property
    def done(self) -> bool:
        """Whether it may go: drained, and known as such to the ReplicaSet, or out of time."""
        report = self.report
        if report is None or report.seconds is None:
            return False
        return report.seconds >= DRAIN_SECONDS or (not self.ready and report.unfinished == 0)


@dataclass(frozen=True)
class Step:
    """What to do now: `replicas` to ask for, those that should drain, and those that should not."""

    replicas: int
    victims: tuple[str, ...] = ()
    back: tuple[str, ...] = ()


def next_step(replicas: Sequence[Replica], current: int, wanted: int) -> Step:
    """The next step from `current` replicas, that are asked for, to `wanted`.

    Replicas that are not ready and do not drain, such as starting ones, go first, as the ReplicaSet
    has it. Then those that drain already go on; further ones are chosen by least work in flight, so
    far as engines tell of it. What cannot be drained goes without.
    """
    draining = [each for each in replicas if each.drains]
    going = [each for each in replicas if not each.ready and not each.drains]
    surplus = len(replicas) - wanted - len(going)
    # What the ReplicaSet has not deleted yet, after the count fell, is no reason for another drain.
    candidates = [each for each in replicas if each.ready and each.report and not each.drains]
    ordered = [*_ordered(draining), *(_ordered(candidates) if wanted < current else ())]
    chosen = ordered[: max(0, min(surplus, MOST_AT_ONCE))]
    back = tuple(each.name for each in draining if each not in chosen)
    left = surplus - len(chosen) if len(ordered) > len(chosen) else 0
    count = wanted + max(0, left) if all(each.done for each in chosen) else current
    return Step(max(wanted, min(current, count)), tuple(each.name for each in chosen), back)


def _ordered(replicas: Sequence[Replica]) -> list[Replica]:
    """Who goes first; of those that are as busy the youngest, whose prefix cache knows least."""
    by_name = sorted(replicas, key=lambda each: each.name)
    by_age = sorted(by_name, key=lambda each: each.created, reverse=True)
    return sorted(by_age, key=_work)


def _work(replica: Replica) -> tuple[float, float]:
    report = replica.report
    return (report.unfinished, report.kv_cache_usage) if report else (0.0, 0.0)
