"""What others write once the operator has written: controllers, the scheduler, a kubelet.

Statuses and times are those that KWOK's pods get; each write is a watch event for the operator.
"""

import asyncio
import copy
import uuid
from collections.abc import Callable

from e2e.footprint.objects import Object, Objects, managed, now

Change = Callable[[Object], None]
HASH = "7c9d8f6b5"
NOWHERE = "127.77.{}.{}"
"""Addresses of pods: nothing listens there, and says so at once."""


class Controllers:
    """Answers new Deployments and PodDisruptionBudgets with what follows in a cluster."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def created(self, kind: str, item: Object) -> None:
        """Plans the writes that follow a new object."""
        at = (item["metadata"]["namespace"], item["metadata"]["name"])
        if kind == "Deployment":
            self._later(0.1, kind, at, _noticed)
            self._later(0.2, kind, at, _status(ready=False))
            self._later(2.0, kind, at, _status(ready=True))
            asyncio.get_running_loop().call_later(0.15, self._start_pod, item)
        if kind == "PodDisruptionBudget":
            self._later(0.3, kind, at, _allows(0))
            self._later(1.5, kind, at, _allows(1))

    def _later(self, delay: float, kind: str, at: tuple[str, str], change: Change) -> None:
        def write() -> None:
            item = copy.deepcopy(self._objects.get(kind, at))
            if item is not None:
                change(item)
                self._objects.put(kind, item)

        asyncio.get_running_loop().call_later(delay, write)

    def _start_pod(self, deployment: Object) -> None:
        template = copy.deepcopy(deployment["spec"]["template"])
        owner = f"{deployment['metadata']['name']}-{HASH}"
        namespace, name = deployment["metadata"]["namespace"], f"{owner}-x2x4z"
        metadata = {
            **template["metadata"],
            "name": name,
            "generateName": f"{owner}-",
            "namespace": namespace,
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner}
                | {"uid": str(uuid.uuid4()), "controller": True, "blockOwnerDeletion": True}
            ],
        }
        metadata["labels"]["pod-template-hash"] = HASH
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        pod["status"] = {"phase": "Pending", "qosClass": "Burstable"}
        self._objects.create("Pod", pod, "kube-controller-manager", "Update")
        number = len(self._objects.kinds["Pod"])
        self._later(0.3, "Pod", (namespace, name), _scheduled)
        self._later(1.0, "Pod", (namespace, name), _runs(NOWHERE.format(*divmod(number, 250))))


def _condition(kind: str, reason: str, *, status: bool = True) -> Object:
    return {
        "type": kind,
        "status": str(status),
        "lastUpdateTime": now(),
        "lastTransitionTime": now(),
        "reason": reason,
        "message": f'{reason} of ReplicaSet "{HASH}" here.',
    }


def _noticed(item: Object) -> None:
    item["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = "1"
    progressing = _condition("Progressing", "NewReplicaSetCreated")
    item["status"] = {"observedGeneration": 1, "conditions": [progressing]}
    _manage(item, "kube-controller-manager")


def _status(*, ready: bool) -> Change:
    counts = {"readyReplicas": 1, "availableReplicas": 1} if ready else {"unavailableReplicas": 1}
    reasons = ("MinimumReplicasUnavailable", "ReplicaSetUpdated")
    if ready:
        reasons = ("MinimumReplicasAvailable", "NewReplicaSetAvailable")

    def change(item: Object) -> None:
        item["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, **counts}
        available = _condition("Available", reasons[0], status=ready)
        item["status"]["conditions"] = [available, _condition("Progressing", reasons[1])]

    return change


def _allows(count: int) -> Change:
    def change(item: Object) -> None:
        item["status"] = {
            "observedGeneration": 1,
            "disruptionsAllowed": count,
            "currentHealthy": count,
            "desiredHealthy": 0,
            "expectedPods": 1,
            "conditions": [_condition("DisruptionAllowed", "SufficientPods")],
        }

    return change


def _scheduled(item: Object) -> None:
    item["spec"]["nodeName"] = "fake-nvidia-h200-1"
    item["status"]["conditions"] = [_condition("PodScheduled", "")]


def _runs(address: str) -> Change:
    def change(item: Object) -> None:
        kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        engine = {"name": "engine", "image": "runtime:dev", "imageID": "", "restartCount": 0}
        engine |= {"ready": True, "started": True, "state": {"running": {"startedAt": now()}}}
        item["status"] |= {
            "phase": "Running",
            "podIP": address,
            "hostIP": "192.0.2.1",
            "startTime": now(),
            "conditions": [_condition(kind, "") for kind in kinds],
            "containerStatuses": [engine],
        }
        _manage(item, "kwok")

    return change


def _manage(item: Object, manager: str) -> None:
    entry = managed({"status": item["status"]}, manager, "Update", "status")
    item["metadata"]["managedFields"].append(entry)
