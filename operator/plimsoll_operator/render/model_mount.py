"""How the engine's pod gets at the model."""

from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.spec import Model

MOUNT_PATH = "/models"
CACHE_PATH = "/cache"


@dataclass(frozen=True)
class ModelMount:
    """`argument` is what the engine is given as MODEL; volumes and mounts make it readable.

    `startup_seconds` is how long the engine may take until it serves.
    """

    argument: str
    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]
    startup_seconds: int
    downloads: bool


def model_mount(model: Model) -> ModelMount:
    """Where the engine finds the model. Expects a source that the schema accepted."""
    scheme, _, rest = model.source.partition("://")
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        volume = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return _mounted(volume, f"{MOUNT_PATH}/{path}" if path else MOUNT_PATH)
    if scheme == "oci":
        return _mounted({"image": {"reference": rest, "pullPolicy": "IfNotPresent"}}, MOUNT_PATH)
    return ModelMount(
        argument=model.source,
        volumes=(),
        mounts=(),
        startup_seconds=3600 if scheme == "hf" else 600,
        downloads=scheme == "hf",
    )


def _mounted(volume: dict[str, Any], argument: str) -> ModelMount:
    return ModelMount(
        argument=argument,
        volumes=({"name": "model", **volume},),
        mounts=({"name": "model", "mountPath": MOUNT_PATH, "readOnly": True},),
        startup_seconds=1200,
        downloads=False,
    )
