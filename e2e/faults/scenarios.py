"""What people and controllers do to LLMDeployments, so that every write of the operator occurs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from e2e.cluster.fake_gpus import FakeGpus, node, node_name
from e2e.faults.api import Api
from e2e.faults.state import RESOURCE, read
from e2e.support.resources import tiny

Object = dict[str, Any]
NAME = "chat"
GPUS = FakeGpus("NVIDIA-H200", 143771, count=32)
LATER = FakeGpus("NVIDIA-L40S", 46068, count=64)
"""GPUs that no node has until a scenario brings one."""
UNKNOWN = FakeGpus("NVIDIA-FAULTS-X", 40960, count=64)
"""GPUs that the catalogue does not know."""

NODE_SECONDS = 6.0
"""Until a new node is ready, and the operator has waited for more of them."""
REFUSED_SECONDS = 15.0
"""Until what was refused for a while is tried again: nothing tells that a quota is gone."""
LIMITS = {"maxNumSeqs": 8, "maxNumBatchedTokens": 512, "kvCacheMemory": "1Gi"}
"""The same in all specs: where only limits differ, engines are told, and here are none."""


@dataclass(frozen=True)
class Place:
    """Where a scenario plays: one namespace, or two."""

    api: Api
    namespaces: tuple[str, ...]

    async def edit(self, spec: Object, name: str = NAME) -> None:
        for namespace in self.namespaces:
            await self.api.merge(RESOURCE, namespace, name, {"spec": spec})


Act = Callable[[Place], Awaitable[None]]


async def _nothing(_: object) -> None:
    pass


@dataclass(frozen=True)
class Step:
    """`act` is done in each place, `once` for the whole cluster; `down` while no operator runs.

    `pause` in seconds is how long it takes until an operator can know of it.
    """

    act: Act = _nothing
    once: Callable[[Api], Awaitable[None]] = _nothing
    down: bool = False
    pause: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """The operator converges after each step; it is killed in none of the first `setup` ones.

    `undo` takes back what was done for the whole cluster.
    """

    name: str
    steps: tuple[Step, ...]
    setup: int = 1
    namespaces: int = 1
    undo: Callable[[Api], Awaitable[None]] = _nothing


def served(**spec: Any) -> Object:
    """The built-in model on GPUs that are not there; arguments replace parts of the spec."""
    usual = {
        "accelerators": {"allow": [GPUS.product]},
        "precision": {"weights": "BF16", "kvCache": "BF16"},
        "pin": LIMITS,
    }
    return tiny(NAME, **{**usual, **spec})


def create(**spec: Any) -> Step:
    async def act(place: Place) -> None:
        for namespace in place.namespaces:
            await place.api.create(served(**spec), namespace)

    return Step(act)


def edit(down: bool = False, **spec: Any) -> Step:
    return Step(lambda place: place.edit(spec), down=down)


def delete(kind: str, name: str = NAME, down: bool = False, policy: str = "Background") -> Step:
    async def act(place: Place) -> None:
        for namespace in place.namespaces:
            await place.api.delete(kind, namespace, name, policy)

    return Step(act, down=down)


def change(kind: str, patch: Object, name: str = NAME, down: bool = False) -> Step:
    async def act(place: Place) -> None:
        for namespace in place.namespaces:
            await place.api.merge(kind, namespace, name, patch)

    return Step(act, down=down)


async def _ask_for_three(place: Place) -> None:
    for namespace in place.namespaces:
        path = {"spec": {"replicas": 3}}
        await place.api.merge(RESOURCE, namespace, NAME, path, "/scale")


async def delete_children(place: Place) -> None:
    for namespace in place.namespaces:
        for name, item in (await read(place.api, namespace)).items():
            if not name.startswith(RESOURCE):
                await place.api.delete(item["kind"], namespace, item["metadata"]["name"])


async def edit_children(place: Place) -> None:
    for namespace in place.namespaces:
        merge = place.api.merge
        engine = {"name": "engine", "image": "example.invalid/other:1"}
        template = {"spec": {"containers": [engine]}}
        await merge("Deployment", namespace, NAME, {"spec": {"template": template}})
        await merge("Service", namespace, NAME, {"spec": {"selector": {"stolen": "yes"}}})
        await merge("NetworkPolicy", namespace, NAME, {"spec": {"egress": []}})
        await merge("PodDisruptionBudget", namespace, NAME, {"spec": {"maxUnavailable": 7}})
        await merge("ServiceAccount", namespace, NAME, {"automountServiceAccountToken": True})
        labels = {"metadata": {"labels": {"app.kubernetes.io/instance": "somebody"}}}
        await merge("Service", namespace, f"{NAME}-metrics", labels)


async def _foreign_service(place: Place) -> None:
    for namespace in place.namespaces:
        ports = [{"name": "http", "port": 1}]
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}}
        await place.api.create({**body, "spec": {"ports": ports}}, namespace)


async def _close_quota(place: Place) -> None:
    for namespace in place.namespaces:
        body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "closed"}}
        hard = {"count/deployments.apps": "0", "count/services": "1"}
        made = await place.api.create({**body, "spec": {"hard": hard}}, namespace)
        while (made.get("status") or {}).get("hard") != hard:
            found = await place.api.get("ResourceQuota", namespace, "closed")
            made = found or made


async def _again(place: Place) -> None:
    """Deletes and creates in one go, so that an operator may see the second only."""
    for namespace in place.namespaces:
        await place.api.delete(RESOURCE, namespace, NAME)
        await place.api.create(served(pin=PIN), namespace)


def _node(gpus: FakeGpus) -> Callable[[Api], Awaitable[None]]:
    """One node: of several a plan might be made, and recorded, when only some are there."""

    async def once(api: Api) -> None:
        made = node(gpus, 0)
        await api.apply(made)
        await api.apply(made, subresource="/status")

    return once


def _no_node(gpus: FakeGpus) -> Callable[[Api], Awaitable[None]]:
    async def undo(api: Api) -> None:
        await api.delete("Node", "", node_name(gpus, 0))

    return undo


def _accelerator(bandwidth: str) -> Callable[[Api], Awaitable[None]]:
    async def once(api: Api) -> None:
        await api.apply(
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "Accelerator",
                "metadata": {"name": "faults"},
                "spec": {
                    "products": [UNKNOWN.product],
                    "memory": "40Gi",
                    "bandwidth": bandwidth,
                    "compute": {"bf16": "100T", "fp32": "20T"},
                },
            }
        )

    return once


async def _new_product(api: Api) -> None:
    await _node(UNKNOWN)(api)


async def _forget_product(api: Api) -> None:
    await _no_node(UNKNOWN)(api)
    await api.delete("Accelerator", "", "faults")


HOPELESS = {"timeToFirstToken": {"p95": "0.001ms"}, "timePerOutputToken": {"p95": "0.001ms"}}
FINE = {"timeToFirstToken": {"p95": "5s"}, "timePerOutputToken": {"p95": "500ms"}}
EXTERNAL = {"mode": "External", "minReplicas": 1, "maxReplicas": 4}
PIN = {**LIMITS, "tensorParallelSize": 2}
ORPHANED = delete(RESOURCE, policy="Orphan")

SCENARIOS = (
    Scenario("create", (create(),), setup=0),
    Scenario("pins", (create(), edit(pin=PIN))),
    Scenario("infeasible-and-back", (create(), edit(slo=HOPELESS), edit(slo=FINE))),
    Scenario("infeasible-at-first", (create(slo=HOPELESS), edit(slo=FINE)), setup=0),
    Scenario("best-effort", (create(), edit(slo={**HOPELESS, "whenInfeasible": "BestEffort"}))),
    # Never a range: what the autoscaler says of pods that are not there changes with time.
    Scenario(
        "bounds",
        (
            create(),
            edit(scaling={"minReplicas": 3, "maxReplicas": 3}),
            edit(scaling={"minReplicas": 2, "maxReplicas": 2}),
        ),
    ),
    Scenario("external", (create(scaling=EXTERNAL), Step(_ask_for_three)), setup=0),
    Scenario("to-external-and-back", (create(), edit(scaling=EXTERNAL), edit(scaling=None))),
    Scenario("children-deleted", (create(), Step(delete_children))),
    Scenario("children-edited", (create(), Step(edit_children))),
    Scenario("children-edited-while-down", (create(), Step(edit_children, down=True))),
    Scenario(
        "orphans-adopted",
        (create(), ORPHANED, create(), delete("Deployment"), Step(delete_children)),
    ),
    Scenario("stranger-refused", (Step(_foreign_service), create(), delete("Service")), setup=0),
    Scenario(
        "access",
        (
            create(),
            edit(access={"namespaces": ["apps"], "cidrs": ["10.0.0.0/8"]}),
            edit(access=None),
        ),
    ),
    Scenario(
        "history",
        (
            create(),
            edit(pin=PIN),
            edit(pin={"tensorParallelSize": 4}),
            edit(pin=PIN),
            edit(revisionHistoryLimit=0),
        ),
        setup=2,
    ),
    Scenario("model", (create(), edit(model={"servedName": "other", "maxContextLength": 1024}))),
    Scenario("deleted", (create(), delete(RESOURCE))),
    Scenario("deleted-while-down", (create(), delete(RESOURCE, down=True), create(pin=PIN))),
    Scenario("made-again", (create(), Step(_again))),
    Scenario("made-again-while-down", (create(), Step(_again, down=True))),
    Scenario("same-name-twice", (create(), edit(pin=PIN)), setup=0, namespaces=2),
    Scenario(
        "quota",
        (
            Step(_close_quota),
            create(),
            replace(delete("ResourceQuota", "closed"), pause=REFUSED_SECONDS),
        ),
        setup=1,
    ),
    Scenario(
        "nodes-come",
        (
            create(accelerators={"allow": [LATER.product]}),
            Step(once=_node(LATER), pause=NODE_SECONDS),
        ),
        setup=0,
        undo=_no_node(LATER),
    ),
    Scenario(
        "accelerator-edited",
        (
            Step(once=_new_product, pause=NODE_SECONDS),
            create(accelerators={"allow": [UNKNOWN.product]}),
            Step(once=_accelerator("500G"), pause=NODE_SECONDS),
            Step(once=_accelerator("900G"), pause=NODE_SECONDS),
            edit(pin=PIN),
        ),
        setup=1,
        undo=_forget_product,
    ),
    Scenario(
        "accelerators",
        (
            Step(once=_node(LATER), pause=NODE_SECONDS),
            create(),
            edit(accelerators={"allow": [LATER.product]}),
        ),
        setup=2,
        undo=_no_node(LATER),
    ),
)
