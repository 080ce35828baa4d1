"""What engine pods get of the Secrets and the cache that a spec names."""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec

API_KEYS_PATH = "/etc/plimsoll/api-keys"
TLS_PATH = "/etc/plimsoll/tls"
_FILE = "keys"
_CERT, _KEY = "tls.crt", "tls.key"


def cache_volume(spec: LLMDeploymentSpec) -> dict[str, Any]:
    """Where downloads go."""
    if spec.model.cache is None:
        return {"name": "cache", "emptyDir": {}}
    return {"name": "cache", "persistentVolumeClaim": {"claimName": spec.model.cache.claim_name}}


def secret_volumes(spec: LLMDeploymentSpec) -> list[dict[str, Any]]:
    """Volumes with the keys of clients and the certificate, if there are any."""
    volumes: list[dict[str, Any]] = []
    keys = None if spec.authentication is None else spec.authentication.api_keys_from
    if keys is not None:
        reference = keys.secret_key_ref
        items = [{"key": reference.key, "path": _FILE}]
        volumes.append(
            {"name": "api-keys", "secret": {"secretName": reference.name, "items": items}}
        )
    if spec.tls is not None:
        # Optional, so that the engine can say what is missing: of a pod that waits for a volume
        # nobody says why.
        named = {"secretName": spec.tls.certificate_from.secret_ref.name, "optional": True}
        items = [{"key": key, "path": key} for key in (_CERT, _KEY)]
        volumes.append({"name": "tls", "secret": {**named, "items": items}})
    return volumes


def secret_mounts(spec: LLMDeploymentSpec) -> list[dict[str, Any]]:
    """Where these are in the engine's container. Whole folders, which the kubelet keeps fresh."""
    paths = {"api-keys": API_KEYS_PATH, "tls": _tls_path(spec)}
    return [
        {"name": volume["name"], "mountPath": paths[volume["name"]], "readOnly": True}
        for volume in secret_volumes(spec)
    ]


def secret_options(spec: LLMDeploymentSpec) -> dict[str, object]:
    """Options of the engine that say where they are."""
    options: dict[str, object] = {}
    if spec.authentication is not None and spec.authentication.api_keys_from is not None:
        options["api-key-file"] = f"{API_KEYS_PATH}/{_FILE}"
    if spec.tls is not None:
        folder = _tls_path(spec)
        options |= {"ssl-certfile": f"{folder}/{_CERT}", "ssl-keyfile": f"{folder}/{_KEY}"}
    return options


def _tls_path(spec: LLMDeploymentSpec) -> str:
    """A folder that has the Secret's name, so that what the engine says of its files tells it."""
    return "" if spec.tls is None else f"{TLS_PATH}/{spec.tls.certificate_from.secret_ref.name}"


def secret_environment(spec: LLMDeploymentSpec) -> list[dict[str, Any]]:
    """The Hub's token, if there is one."""
    if spec.model.token_from is None:
        return []
    reference = spec.model.token_from.secret_key_ref
    key = {"name": reference.name, "key": reference.key}
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}}]
