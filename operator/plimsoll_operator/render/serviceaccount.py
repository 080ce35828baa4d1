"""The ServiceAccount of engine pods, which may do nothing."""

from typing import Any

from plimsoll_operator.render.labels import child
from plimsoll_operator.resource import Resource


def service_account(resource: Resource) -> dict[str, Any]:
    """An account without a token: engines never speak to the API server."""
    return child(
        resource, "v1", "ServiceAccount", resource.name, {"automountServiceAccountToken": False}
    )
