"""LLMDeployments as the scenarios declare them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Object = dict[str, Any]
NO_VOLUMES: Mapping[str, Object] = MappingProxyType({})


def tiny(name: str, **spec: Any) -> Object:
    """The built-in model on half a CPU core; keyword arguments replace whole parts of the spec."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name},
        "spec": {
            "model": {"source": "builtin://tiny", "maxContextLength": 2048},
            "workload": {
                "requestsPerSecond": "500m",
                "promptTokens": {"mean": 100, "p95": 300},
                "outputTokens": {"mean": 40, "p95": 100},
            },
            "slo": {
                "timeToFirstToken": {"p95": "5s"},
                "timePerOutputToken": {"p95": "500ms"},
            },
            "accelerators": {"allow": ["cpu"]},
            "precision": {"weights": "FP32", "kvCache": "FP32"},
            **spec,
        },
    }


def pods_of(name: str) -> str:
    """The label selector of a deployment's engine pods."""
    return f"app.kubernetes.io/name=plimsoll-engine,app.kubernetes.io/instance={name}"


def script_pod(
    name: str, image: str, script: str, *arguments: str, volumes: Mapping[str, Object] = NO_VOLUMES
) -> Object:
    """A pod that Pod Security `restricted` admits and that runs a Python script once. `volumes` are
    by the path where they are mounted."""
    named = {path: f"volume-{number}" for number, path in enumerate(volumes)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", script, *arguments],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": volume, "mountPath": path} for path, volume in named.items()
                    ],
                }
            ],
            "volumes": [{"name": named[path], **what} for path, what in volumes.items()],
        },
    }


CHILD_KINDS = (
    "deployments,services,serviceaccounts,poddisruptionbudgets,networkpolicies.networking.k8s.io"
)


def bare(child: Object) -> Object:
    """A child without what the API server and the Deployment controller write into it."""
    metadata = {
        key: value
        for key, value in child["metadata"].items()
        if key not in ("resourceVersion", "generation", "managedFields", "creationTimestamp")
    }
    metadata["annotations"] = {
        key: value
        for key, value in metadata.get("annotations", {}).items()
        if key != "deployment.kubernetes.io/revision"
    }
    return {
        **{key: value for key, value in child.items() if key != "status"},
        "metadata": metadata,
    }
