"""Reads what reconciling one resource needs, from the store and, for what it lacks, live."""

from collections.abc import Mapping
from typing import Any

from plimsoll_operator.api.quantity import parse_duration, parse_quantity
from plimsoll_operator.api.spec import LLMDeploymentSpec, Percentiles, ScalingMode
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.api.template_rules import ENGINE
from plimsoll_operator.calibration.measured import in_use, measured_on
from plimsoll_operator.engines.calibrator import Target
from plimsoll_operator.engines.drain_keeper import EnginePod
from plimsoll_operator.kube.api_server import Cluster
from plimsoll_operator.kube.kinds import BY_NAME, CHILDREN, POD
from plimsoll_operator.kube.pruning import SPEAKS_TLS
from plimsoll_operator.kube.store import Store
from plimsoll_operator.observed import (
    Observed,
    is_ready,
    is_replica,
    owned_by,
    rollout,
    terminating,
)
from plimsoll_operator.render.children import ChildKey
from plimsoll_operator.render.labels import HTTPS, PLAN_LABEL
from plimsoll_operator.resource import Key, Resource
from plimsoll_operator.scaling.autoscale import Measured, Policy, Sample
from plimsoll_operator.scaling.demand import Capacity
from plimsoll_operator.scaling.pace import Pace


async def observe(
    store: Store, cluster: Cluster, resource: Resource, keys: tuple[ChildKey, ...]
) -> Observed:
    """Children and pods of a resource. Raises ClusterError.

    `keys` are the children that it should have. One that the store lacks is read from the API
    server, since the watches do not see objects without our labels, and such an object must not be
    taken over.
    """
    children: dict[ChildKey, Mapping[str, Any]] = {}
    for kind in CHILDREN:
        for item in store.of_instance(kind.name, resource.key):
            children[kind.name, str(item["metadata"]["name"])] = item
    for kind_name, name in keys:
        if (kind_name, name) not in children:
            found = await cluster.get(BY_NAME[kind_name], resource.namespace, name)
            if found is not None:
                children[kind_name, name] = found
    return Observed(children=children, pods=store.of_instance(POD.name, resource.key))


def ready_replicas(
    store: Store, key: Key, revision: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Name and address of every ready pod that is not on its way out, of those that run by the plan
    with that `revision` if one is given."""
    return tuple(
        (str(pod["metadata"]["name"]), str(pod["status"]["podIP"]))
        for pod in store.of_instance(POD.name, key)
        if not terminating(pod)
        and pod["status"].get("podIP")
        and revision in (None, (pod["metadata"].get("labels") or {}).get(PLAN_LABEL))
        and is_ready(pod)
    )


def api_addresses(store: Store, key: Key) -> tuple[tuple[str, str], ...]:
    """The same, as `url_of` takes them to reach the API: some may speak TLS."""
    pods = {pod["metadata"]["name"]: pod for pod in store.of_instance(POD.name, key)}
    return tuple(
        (name, f"{HTTPS}://{address}" if pods[name].get(SPEAKS_TLS) else address)
        for name, address in ready_replicas(store, key)
    )


def engine_pods(observed: Observed) -> tuple[EnginePod, ...]:
    """The pods that count as replicas: all but those that have ended or are on their way out."""
    return tuple(
        EnginePod(
            name=str(pod["metadata"]["name"]),
            address=str(pod["status"].get("podIP") or ""),
            ready=is_ready(pod),
            started=any(
                container.get("name") == ENGINE and container.get("started")
                for container in pod["status"].get("containerStatuses") or ()
            ),
            created=str(pod["metadata"].get("creationTimestamp") or ""),
        )
        for pod in observed.pods
        if is_replica(pod)
    )


def of_one_template(observed: Observed, name: str) -> bool:
    """Whether all pods of the Deployment `name` are by its present template, as far as it says.

    Those on their way out are not asked: after a rollout they may take a minute to end.
    """
    deployment = observed.children.get(("Deployment", name))
    if deployment is None or deployment["spec"].get("paused"):
        return False
    progress = rollout(deployment)
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    plans = {
        (pod["metadata"].get("labels") or {}).get(PLAN_LABEL)
        for pod in observed.pods
        if not terminating(pod)
    }
    return progress.updated == progress.replicas and plans <= {labels.get(PLAN_LABEL)}


def calibration_target(store: Store, resource: Resource) -> Target | None:
    """What can be measured of a resource; None while it does not run by a plan for its spec."""
    spec, status = resource.spec, resource.status
    if spec is None or status.plan is None or status.plan_generation != resource.generation:
        return None
    started = status.plan.revision if status.limits is None else status.limits.started_revision
    replicas = ready_replicas(store, resource.key, started)
    before = measured_on(status.plan, in_use(status.calibration, spec))
    return Target(resource.key, resource.uid, spec, status.plan, replicas, before)


def scales_automatically(spec: LLMDeploymentSpec | None) -> bool:
    """Whether the operator itself moves the replica count."""
    return (
        spec is not None
        and spec.scaling.mode is ScalingMode.AUTOMATIC
        and spec.scaling.min_replicas < spec.scaling.max_replicas
    )


def policy_of(spec: LLMDeploymentSpec, schedule: str = "") -> Policy:
    """The autoscaler's bounds and pace; `schedule` is the one that the minimum is of, if any."""
    return Policy(
        min_replicas=spec.scaling.min_replicas,
        max_replicas=spec.scaling.max_replicas,
        scale_down_stabilization=parse_duration(spec.scaling.scale_down_stabilization),
        schedule=schedule,
        pace=Pace(spec.scaling.behavior.scale_up, spec.scaling.behavior.scale_down),
    )


def capacity_of(plan: PlanStatus, spec: LLMDeploymentSpec) -> Capacity:
    """What the plan says that one replica carries within the promise; 0 if it does not."""
    try:
        rate = float(parse_quantity(plan.predicted.requests_per_second_per_replica))
    except ValueError:  # of a status that somebody else wrote
        rate = 0.0
    return Capacity(
        max_num_seqs=plan.max_num_seqs,
        requests_per_second=rate,
        ttft=_seconds(spec.slo.time_to_first_token),
        tpot=_seconds(spec.slo.time_per_output_token),
    )


def _seconds(promise: Percentiles | None) -> float | None:
    return None if promise is None else parse_duration(promise.p95)


def measured(
    resource: Resource,
    observed: Observed,
    replicas: tuple[tuple[str, str], ...],
    samples: tuple[Sample, ...],
) -> Measured | None:
    """What the autoscaler sees: one sample a ready pod; None without a Deployment."""
    deployment = observed.children.get(("Deployment", resource.name))
    if deployment is None or not owned_by(deployment, resource.uid):
        return None
    # What drains to go is no capacity, as long as it is still ready too.
    names = {name for name, _ in replicas} - set(resource.status.draining)
    return Measured(
        samples=tuple(sample for sample in samples if sample.replica in names),
        current=rollout(deployment).desired,
        ready=len(names),
    )
