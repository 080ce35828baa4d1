"""What engine pods get of the Secrets and the cache that a spec names."""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec

API_KEYS_PATH = "/etc/plimsoll/api-keys"
_FILE = "keys"


def cache_volume(spec: LLMDeploymentSpec) -> dict[str, Any]:
    """Where downloads go."""
    if spec.model.cache is None:
        return {"name": "cache", "emptyDir": {}}
    return {"name": "cache", "persistentVolumeClaim": {"claimName": spec.model.cache.claim_name}}


def secret_volumes(spec: LLMDeploymentSpec) -> list[dict[str, Any]]:
    """Volumes with the keys of clients, if there are any."""
    if spec.authentication is None or spec.authentication.api_keys_from is None:
        return []
    reference = spec.authentication.api_keys_from.secret_key_ref
    items = [{"key": reference.key, "path": _FILE}]
    return [{"name": "api-keys", "secret": {"secretName": reference.name, "items": items}}]


def secret_mounts(spec: LLMDeploymentSpec) -> list[dict[str, Any]]:
    """Where these are in the engine's container. A whole folder, which the kubelet keeps fresh."""
    return [
        {"name": volume["name"], "mountPath": API_KEYS_PATH, "readOnly": True}
        for volume in secret_volumes(spec)
    ]


def secret_options(spec: LLMDeploymentSpec) -> dict[str, object]:
    """Options of the engine that say where they are."""
    return {"api-key-file": f"{API_KEYS_PATH}/{_FILE}"} if secret_volumes(spec) else {}


def secret_environment(spec: LLMDeploymentSpec) -> list[dict[str, Any]]:
    """The Hub's token, if there is one."""
    if spec.model.token_from is None:
        return []
    reference = spec.model.token_from.secret_key_ref
    key = {"name": reference.name, "key": reference.key}
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}}]
