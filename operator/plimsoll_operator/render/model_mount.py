"""How the engine's pod gets at the model, and at the one that drafts for it."""

from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec, ModelSource

MOUNT_PATH = "/models"
DRAFT_MOUNT_PATH = "/draft-model"
CACHE_PATH = "/cache"
_STARTUP_SECONDS = {"builtin": 600, "pvc": 1200, "oci": 1200, "hf": 3600}


@dataclass(frozen=True)
class ModelMount:
    """`argument` is what the engine is given as MODEL; volumes and mounts make it readable.

    `startup_seconds` is how long the engine may take until it serves, `downloads` whether it
    fetches a model from the Hub. `draft_argument` is the
    model that drafts, None without one, which is among the volumes as well.
    """

    argument: str
    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]
    startup_seconds: int
    downloads: bool
    draft_argument: str | None = None


def model_mount(spec: LLMDeploymentSpec) -> ModelMount:
    """Where the engine finds its models. Expects sources that the schema accepted."""
    model, draft = spec.model, spec.speculation.draft_model
    volume, draft_volume = _volume(model), None if draft is None else _volume(draft)
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    draft_path = MOUNT_PATH
    if volume is not None:
        volumes.append({"name": "model", **volume})
        mounts.append({"name": "model", "mountPath": MOUNT_PATH, "readOnly": True})
    # A second volume of the same claim would keep the pod from starting
    # (kubernetes/kubernetes#132921).
    if draft_volume is not None and draft_volume != volume:
        draft_path = DRAFT_MOUNT_PATH
        volumes.append({"name": "draft-model", **draft_volume})
        mounts.append({"name": "draft-model", "mountPath": draft_path, "readOnly": True})
    schemes = {_scheme(each) for each in (model, draft) if each is not None}
    return ModelMount(
        argument=_argument(model, MOUNT_PATH),
        volumes=tuple(volumes),
        mounts=tuple(mounts),
        startup_seconds=max(_STARTUP_SECONDS[scheme] for scheme in schemes),
        downloads="hf" in schemes,
        draft_argument=None if draft is None else _argument(draft, draft_path),
    )


def _scheme(model: ModelSource) -> str:
    return model.source.partition("://")[0]


def _volume(model: ModelSource) -> dict[str, Any] | None:
    """What the volume with the model is made of; None where the engine needs none."""
    scheme, _, rest = model.source.partition("://")
    if scheme == "pvc":
        claim = rest.partition("/")[0]
        return {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    if scheme == "oci":
        return {"image": {"reference": rest, "pullPolicy": "IfNotPresent"}}
    return None


def _argument(model: ModelSource, mount_path: str) -> str:
    """The model as the engine is given it, its volume being at `mount_path`."""
    scheme, _, rest = model.source.partition("://")
    if scheme == "pvc":
        path = rest.partition("/")[2]
        return f"{mount_path}/{path}" if path else mount_path
    return mount_path if scheme == "oci" else model.source
