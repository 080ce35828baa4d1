"""How a day was set up, for tests of its result and of its page."""

from e2e.day.request import Objectives
from e2e.day.result import Setup

SETUP = Setup(
    hours=0.1,
    seed=1,
    peak=5.0,
    mean=2.5,
    objectives=Objectives(1.0, 0.1),
    planned=2,
    static=3,
    replica_rate=2.5,
    most_replicas=3,
    machine={"cpu": "a CPU", "cores": "2"},
    commit="abc",
    started="2026-01-01T00:00:00+00:00",
)
