"""LLMDeployments as the scenarios declare them."""

from typing import Any

Object = dict[str, Any]


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
