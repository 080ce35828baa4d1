"""What a process did whose seconds are known, as it would be counted."""

import random
from collections.abc import Sequence

from plimsoll_planner.calibration.frontend_fit import WorkTime
from plimsoll_planner.calibration.frontend_work import Look, Work


def worked(
    time: WorkTime, noise: float = 0.0, slow: int = 0, count: int = 40, seed: int = 3
) -> list[Work]:
    """Stretches of many kinds; `noise` is lognormal, `slow` of them took three times as long."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        requests, messages = chance.choice((1, 6, 32)), chance.choice((20, 200))
        events = messages * chance.choice((1, 4, 16))
        work = Work(
            requests,
            requests * chance.choice((8, 100, 900)),
            messages,
            events,
            events * chance.choice((1, 2)),
            chance.uniform(0.5, 5.0),
            0.0,
        )
        cpu = time.of(work) * chance.lognormvariate(0, noise) * (3 if number < slow else 1)
        found.append(work._replace(cpu_seconds=cpu))
    return found


def looked(work: Sequence[Work], at: float = 100.0) -> list[Look]:
    """A process that did this, looked at before and after each stretch."""
    found = [Look(at, 2.0, 0, 0, 0, 0, 0)]
    for each in work:
        last = found[-1]
        counts = (now + then for now, then in zip(each[:5], last[2:], strict=True))
        found.append(Look(last.at + each.seconds, last.cpu_seconds + each.cpu_seconds, *counts))
    return found
