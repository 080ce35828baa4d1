"""The Deployment of engine pods."""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.status import PlanStatus
from plimsoll_operator.api.template import PodTemplate
from plimsoll_operator.api.template_rules import ENGINE
from plimsoll_operator.extended_resources import product_label, taint
from plimsoll_operator.render import admin_trust
from plimsoll_operator.render.download import download_containers
from plimsoll_operator.render.engine import (
    CPU,
    GRACE_SECONDS,
    RESTRICTED,
    SHM_BYTES_PER_GPU,
    container,
    gpus_per_replica,
    resource_of,
)
from plimsoll_operator.render.labels import (
    PODS_ANNOTATION,
    child,
    digest,
    pod_labels,
    selector,
)
from plimsoll_operator.render.model_mount import ModelMount, model_mount
from plimsoll_operator.render.overlay import overlaid
from plimsoll_operator.render.quantity import memory_quantity
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.render.secrets import cache_volume, secret_volumes
from plimsoll_operator.resource import Resource

USER = 65532
_ROLLOUT_MARGIN_SECONDS = 60


def deployment(
    resource: Resource,
    spec: LLMDeploymentSpec,
    plan: PlanStatus,
    rendering: Rendering,
    replicas: int,
) -> dict[str, Any]:
    """Engine pods for `plan`; a change rolls out one pod at a time, beside those that serve."""
    mount = model_mount(spec)
    deadline = spec.rollout.progress_deadline_seconds
    template = pod_template(resource, spec, plan, rendering)
    body = {
        "spec": {
            "replicas": replicas,
            # Absent rather than false, as the API server leaves it.
            **({"paused": True} if resource.frozen else {}),
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": deadline or _deadline(mount),
            "selector": {"matchLabels": selector(resource.name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": template,
        }
    }
    made = child(resource, "apps/v1", "Deployment", resource.name, body)
    made["metadata"]["annotations"][PODS_ANNOTATION] = digest(template)
    return made


def pod_template(
    resource: Resource, spec: LLMDeploymentSpec, plan: PlanStatus, rendering: Rendering
) -> dict[str, Any]:
    """What pods are made from; a change of it replaces them."""
    pod = {
        "metadata": {"labels": pod_labels(resource.name, plan.revision)},
        "spec": _pod(resource, spec, plan, model_mount(spec), rendering),
    }
    return _overlaid(pod, spec.template)


def _deadline(mount: ModelMount) -> int:
    return mount.download_seconds + mount.startup_seconds + _ROLLOUT_MARGIN_SECONDS


def in_place(deployment: dict[str, Any], unavailable: int) -> dict[str, Any]:
    """`deployment`, whose change rolls out in the place of so many replicas at a time."""
    strategy = {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": 0},
    }
    return {**deployment, "spec": {**deployment["spec"], "strategy": strategy}}


def _overlaid(pod: dict[str, Any], template: PodTemplate | None) -> dict[str, Any]:
    """The pod template with what a platform team lays over it."""
    if template is None:
        return pod
    metadata = template.metadata.model_dump(exclude_defaults=True)
    merged = overlaid(pod, {"metadata": metadata, "spec": template.spec})
    # A proxy, a mirror of the Hub or an authority of one's own is said once, of the engine.
    said = {"env": _environment(template)}
    own = {each["name"] for each in pod["spec"].get("initContainers", ())}
    for number, each in enumerate(merged["spec"].get("initContainers", ())):
        if each["name"] in own:
            merged["spec"]["initContainers"][number] = overlaid(each, said)
    for field in ("containers", "initContainers"):
        if field in merged["spec"]:
            # What is said of others' containers goes before what they are given.
            merged["spec"][field] = [
                overlaid({"securityContext": RESTRICTED}, each) for each in merged["spec"][field]
            ]
    return merged


def _environment(template: PodTemplate) -> list[dict[str, Any]]:
    """What a template says of the engine's environment."""
    containers = template.spec.get("containers", ())
    return next((each.get("env", []) for each in containers if each["name"] == ENGINE), [])


def _pod(
    resource: Resource,
    spec: LLMDeploymentSpec,
    plan: PlanStatus,
    mount: ModelMount,
    rendering: Rendering,
) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": resource.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(resource.name, spec, plan, mount, rendering)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            cache_volume(spec),
            admin_trust.volume(),
            *mount.volumes,
            *secret_volumes(spec),
        ],
        # Empty rather than absent, so that what somebody adds here is taken out again.
        "nodeSelector": {},
        "tolerations": [],
    }
    downloads = download_containers(spec, mount, rendering)
    if downloads:
        pod["initContainers"] = downloads
    if plan.accelerator != CPU:
        size = memory_quantity(SHM_BYTES_PER_GPU * gpus_per_replica(plan))
        pod["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}})
        asked = resource_of(plan)
        pod["nodeSelector"] = {product_label(asked): plan.accelerator}
        # Whatever its effect, since the inventory counts nodes with this taint.
        pod["tolerations"] = [{"key": taint(asked), "operator": "Exists"}]
    return pod
