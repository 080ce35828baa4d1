"""Decides on replica counts from what is measured, and has those that should go drained first."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from plimsoll_operator import metrics
from plimsoll_operator.api.spec import ScalingMode
from plimsoll_operator.engines.drain_keeper import DrainKeeper
from plimsoll_operator.engines.scraper import Scraper
from plimsoll_operator.gather import (
    capacity_of,
    engine_pods,
    measured,
    of_one_template,
    policy_of,
    ready_replicas,
)
from plimsoll_operator.kube.refusal import REASON as REFUSED
from plimsoll_operator.kube.store import Store
from plimsoll_operator.observed import Observed, rollout_of
from plimsoll_operator.plans.choice import Standing
from plimsoll_operator.reconcile import Desired, foreign_children, wanted_replicas
from plimsoll_operator.resource import Key, Resource
from plimsoll_operator.scaling.autoscale import Decision, Memory, decide
from plimsoll_operator.scaling.changes import changes_in
from plimsoll_operator.scaling.victims import Step
from plimsoll_operator.status.conditions import AUTOSCALING_ACTIVE, get_condition


class Autoscaler:
    """Remembers of each resource what earlier decisions left."""

    def __init__(
        self,
        store: Store,
        scraper: Scraper,
        drains: DrainKeeper,
        on_late: Callable[[Key], None],
    ) -> None:
        """`on_late` is called with each resource whose engines answered after their look."""
        self._store = store
        self._scraper = scraper
        self._drains, self._on_late = drains, on_late
        self._memories: dict[str, Memory] = {}

    def forget(self, uid: str) -> None:
        """Drops what was remembered of a resource that is gone."""
        self._memories.pop(uid, None)

    def decide(
        self, resource: Resource, standing: Standing, observed: Observed, schedule: str
    ) -> Decision | None:
        """How many replicas there should be; None where that is not ours to decide."""
        spec, plan = resource.spec, standing.plan
        if spec is None or plan is None or spec.scaling.mode is ScalingMode.EXTERNAL:
            return None
        replicas = ready_replicas(self._store, resource.key)
        seen = measured(resource, observed, replicas, self._scraper.samples(resource.key))
        if seen is None:
            return None
        now = asyncio.get_running_loop().time()
        memory = self._memories.get(resource.uid)
        if memory is None:  # as after a restart
            kept = changes_in(resource.status.scaling, datetime.now(UTC), now)
            memory = Memory(changes=kept)
        decision = decide(seen, policy_of(spec, schedule), capacity_of(plan, spec), memory, now)
        if decision.memory != memory:
            self._memories[resource.uid] = decision.memory
        moved = decision.replicas - seen.current
        verdict = "up" if moved > 0 else "down" if moved < 0 else "keep"
        metrics.AUTOSCALE_DECISIONS.labels(decision=verdict if decision.active else "held").inc()
        return decision

    async def step(self, desired: Desired, observed: Observed) -> Step | None:
        """The next step to the replicas that are wanted, whoever wants them; None where nothing
        runs, or nothing is applied."""
        resource, plan = desired.resource, desired.standing.plan
        spec, trouble = resource.spec, desired.standing.trouble
        if spec is None or plan is None or trouble is not None:
            return None
        progress = rollout_of(observed, resource.name, resource.uid)
        if not progress.exists or foreign_children(resource, desired.standing, observed):
            return None
        wanted = wanted_replicas(desired, spec, plan, observed)
        active = get_condition(resource.status.conditions, AUTOSCALING_ACTIVE)
        # Who is refused a lower count would drain one replica after the other in vain.
        refused = active is not None and active.reason == REFUSED
        may_drain = not refused and of_one_template(observed, resource.name)
        return await self._drains.look(
            resource.key,
            engine_pods(observed),
            progress.desired,
            wanted,
            self._on_late,
            may_drain=may_drain,
        )
