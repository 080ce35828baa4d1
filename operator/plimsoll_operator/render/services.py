"""The Service for clients and the headless one for whoever scrapes every pod."""

from typing import Any

from plimsoll_operator.render.labels import PORT, child, metrics_service_name, selector
from plimsoll_operator.resource import Resource


def service(resource: Resource) -> dict[str, Any]:
    """Port 80 to the pods that are ready."""
    body = {
        "spec": {
            "type": "ClusterIP",
            "selector": selector(resource.name),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
        }
    }
    return child(resource, "v1", "Service", resource.name, body)


def metrics_service(resource: Resource) -> dict[str, Any]:
    """One address a pod, ready or not, since a pod that drains still has something to say."""
    body = {
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(resource.name),
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
        }
    }
    return child(resource, "v1", "Service", metrics_service_name(resource.name), body)
