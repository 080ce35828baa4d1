"""The ConfigMap that tells engines of a namespace whose token opens their admin port.

One for all engines of a namespace, of a fixed name as kube-root-ca.crt is: so the operator needs
the right to write this one and no other. It holds public keys only.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.render.labels import MANAGED_BY_LABEL, MANAGER

NAME = "plimsoll-admin"
FILE = "trust.json"
AUDIENCE = "plimsoll.dev/engine"
VOLUME = "admin"
MOUNT_PATH = "/etc/plimsoll/admin"


@dataclass(frozen=True)
class Identity:
    """Whose token it is: the claims `iss` and `sub`."""

    issuer: str
    subject: str


def admin_trust(
    namespace: str, identity: Identity, keys: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """The ConfigMap. `keys` are the issuer's JSON Web Keys; their order does not count."""
    ordered = sorted((dict(key) for key in keys), key=lambda key: json.dumps(key, sort_keys=True))
    content = {
        "issuer": identity.issuer,
        "audience": AUDIENCE,
        "subject": identity.subject,
        "keys": ordered,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {MANAGED_BY_LABEL: MANAGER},
        },
        "data": {FILE: json.dumps(content, sort_keys=True)},
    }


def volume() -> dict[str, Any]:
    """The pod's volume. Optional: an engine without it serves, and lets nobody in."""
    return {"name": VOLUME, "configMap": {"name": NAME, "optional": True}}


def mount() -> dict[str, Any]:
    """The container's mount; what it shows follows the ConfigMap."""
    return {"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": True}
