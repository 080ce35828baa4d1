"""Pods as a cluster shows them, with the messages that Kubernetes 1.36 writes."""

from typing import Any

REVISION = "0123456789"
IMAGE = "docker.io/plimsoll/runtime:none"
NO_ROOM = (
    "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. "
    "no new claims to deallocate, preemption: 0/3 nodes are available: "
    "3 Preemption is not helpful for scheduling."
)
NOT_FOUND = (
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": '
    f"{IMAGE}: not found"
)


def pod(
    name: str = "chat-7d4b9c6f5-x2x4f", revision: str = REVISION, **status: Any
) -> dict[str, Any]:
    """A pod that was scheduled and does nothing yet; keyword arguments go into its status."""
    return {
        "metadata": {
            "namespace": "ml",
            "name": name,
            "uid": f"uid of {name}",
            "resourceVersion": "1",
            "generateName": "chat-7d4b9c6f5-",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "app.kubernetes.io/name": "plimsoll-engine",
                "app.kubernetes.io/instance": "chat",
                "app.kubernetes.io/managed-by": "plimsoll",
                "plimsoll.dev/plan": revision,
                "pod-template-hash": "7d4b9c6f5",
            },
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"containers": [{"name": "engine", "image": IMAGE}]},
        "status": {"phase": "Pending", "conditions": [_scheduled(), _ready(False)], **status},
    }


def _condition(kind: str, status: str, **more: str) -> dict[str, Any]:
    times = {"lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"type": kind, "status": status, **times, **more}


def _scheduled() -> dict[str, Any]:
    return _condition("PodScheduled", "True")


def _ready(ready: bool) -> dict[str, Any]:
    if ready:
        return _condition("Ready", "True")
    message = "containers with unready status: [engine]"
    return _condition("Ready", "False", reason="ContainersNotReady", message=message)


def unschedulable(name: str = "chat-7d4b9c6f5-x2x4f", message: str = NO_ROOM) -> dict[str, Any]:
    refused = _condition("PodScheduled", "False", reason="Unschedulable", message=message)
    return pod(name, conditions=[refused])


def container(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "engine",
        "image": IMAGE,
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "lastState": {},
        "state": state,
        **more,
    }


def pulling(name: str = "chat-7d4b9c6f5-x2x4f", *, backing_off: bool = False) -> dict[str, Any]:
    waiting = {"reason": "ErrImagePull", "message": NOT_FOUND}
    if backing_off:
        message = f'Back-off pulling image "{IMAGE}": ErrImagePull: {NOT_FOUND}'
        waiting = {"reason": "ImagePullBackOff", "message": message}
    return pod(name, containerStatuses=[container({"waiting": waiting})])


def ended(code: int, reason: str, restarts: int = 3, **more: str) -> dict[str, Any]:
    return {
        "exitCode": code,
        "reason": reason,
        "startedAt": f"2026-01-01T00:0{restarts}:00Z",
        "finishedAt": f"2026-01-01T00:0{restarts}:09Z",
        "containerID": f"containerd://{restarts}",
        **more,
    }


def crashing(
    phase: str,
    name: str = "chat-7d4b9c6f5-x2x4f",
    code: int = 137,
    reason: str = "OOMKilled",
    restarts: int = 3,
    **more: str,
) -> dict[str, Any]:
    """A pod whose container crashes over and over: waiting, running, or just ended."""
    last = {"terminated": ended(code, reason, restarts, **more)}
    message = f"back-off {restarts}0s restarting failed container=engine pod={name}_ml(uid)"
    states = {
        "waiting": {"waiting": {"reason": "CrashLoopBackOff", "message": message}},
        "running": {"running": {"startedAt": "2026-01-01T00:09:00Z"}},
        "ended": last,
    }
    status = container(states[phase], lastState=last, restartCount=restarts)
    return pod(name, phase="Running", containerStatuses=[status])


def starting(name: str = "chat-7d4b9c6f5-x2x4f") -> dict[str, Any]:
    return pod(name, containerStatuses=[container({"waiting": {"reason": "ContainerCreating"}})])


def serving(name: str = "chat-7d4b9c6f5-x2x4f", **status: Any) -> dict[str, Any]:
    running = container({"running": {}}, ready=True, started=True)
    more = {"phase": "Running", "podIP": "10.0.0.9", "conditions": [_scheduled(), _ready(True)]}
    return pod(name, **{**more, "containerStatuses": [running], **status})
