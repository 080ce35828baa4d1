"""Reads revisions whole, since the store keeps none of their data. It never changes."""

from plimsoll_operator.kube.api_server import Cluster
from plimsoll_operator.kube.kinds import REVISION
from plimsoll_operator.kube.store import Store
from plimsoll_operator.observed import belongs
from plimsoll_operator.plans.choice import Hold, Standing
from plimsoll_operator.render.labels import INPUTS_LABEL, PLAN_LABEL
from plimsoll_operator.resource import Resource
from plimsoll_operator.revisions.kept_plan import KeptPlan, kept_plans
from plimsoll_operator.rollouts.hold import held


class RevisionReader:
    """Remembers, of each resource, what was read of it last, so that a look asks for nothing."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self._store = store
        self._cluster = cluster
        self._known: dict[str, dict[str, KeptPlan]] = {}

    async def held(self, resource: Resource, hold: Hold) -> tuple[Resource, Standing]:
        """The resource as it was when the revision that `hold` names was in force, and its plan.

        Raises ClusterError.
        """
        kept = await self._named(resource, hold.revision) if hold.revision else None
        served, started = resource.status.served, None
        if served is not None and served.revision == hold.revision:
            started = await self._of_plan(resource, served.started_plan)
        return held(resource, hold, kept, started)

    async def of_inputs(self, resource: Resource, inputs: str) -> KeptPlan | None:
        """The newest revision of a plan for inputs with that hash, unless it turned out slower than
        predicted. Raises ClusterError."""
        name = self._newest(resource, INPUTS_LABEL, inputs)
        if name is None or name in resource.status.drifted:
            return None
        return await self._named(resource, name)

    async def _named(self, resource: Resource, name: str) -> KeptPlan | None:
        """The revision of that name, None where the resource has none. Raises ClusterError."""
        known = self._known.setdefault(resource.uid, {})
        there = self._store.get(REVISION.name, resource.namespace, name) is not None
        if not (there and name in known):
            item = await self._cluster.get(REVISION, resource.namespace, name)
            known.pop(name, None)
            known.update((kept.name, kept) for kept in kept_plans([item] if item else [], resource))
        return known.get(name)

    async def _of_plan(self, resource: Resource, plan: str) -> KeptPlan | None:
        """The newest revision of the plan with that hash. Raises ClusterError."""
        name = self._newest(resource, PLAN_LABEL, plan)
        return None if name is None else await self._named(resource, name)

    def _newest(self, resource: Resource, label: str, value: str) -> str | None:
        found = [
            item
            for item in self._store.of_instance(REVISION.name, resource.key)
            if belongs(item, resource.name, resource.uid)
            and (item["metadata"].get("labels") or {}).get(label) == value
        ]
        newest = max(found, key=lambda item: int(item["revision"]), default=None)
        return None if newest is None else str(newest["metadata"]["name"])

    def forget(self, uid: str) -> None:
        """Drops what was read of a resource that is gone, or holds no earlier revision."""
        self._known.pop(uid, None)
