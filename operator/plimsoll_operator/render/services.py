"""The Service for clients and the headless one for whoever scrapes every pod."""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.render.labels import (
    HTTP,
    HTTPS,
    PORT,
    child,
    metrics_service_name,
    selector,
)
from plimsoll_operator.resource import Resource


def service(resource: Resource, spec: LLMDeploymentSpec) -> dict[str, Any]:
    """Port 80, and 443 with TLS, to the pods that are ready.

    With TLS both are there: port 80 leads to pods without it, which serve until those with it do.
    """
    ports = [_port(HTTP, 80)]
    if spec.tls is not None:
        ports.append(_port(HTTPS, 443))
    body = {
        "spec": {"type": "ClusterIP", "selector": selector(resource.name), "ports": ports},
    }
    return child(resource, "v1", "Service", resource.name, body)


def metrics_service(resource: Resource, spec: LLMDeploymentSpec) -> dict[str, Any]:
    """One address a pod, ready or not, since a pod that drains still has something to say."""
    body = {
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(resource.name),
            "ports": [_port(HTTP if spec.tls is None else HTTPS, PORT)],
        }
    }
    return child(resource, "v1", "Service", metrics_service_name(resource.name), body)


def endpoint(resource: Resource) -> str:
    """Base URL for clients in the cluster."""
    tls = resource.spec is not None and resource.spec.tls is not None
    return f"{HTTPS if tls else HTTP}://{resource.name}.{resource.namespace}.svc/v1"


def _port(name: str, number: int) -> dict[str, Any]:
    port = {"name": name, "port": number, "protocol": "TCP", "targetPort": name}
    # Meshes and gateways go by it. Plain HTTP is what they take where nothing is said.
    return {**port, "appProtocol": HTTPS} if name == HTTPS else port
