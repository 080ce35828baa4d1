"""How the engine's pod gets at the model, and at the one that drafts for it."""

from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec, ModelSource

MOUNT_PATH = "/models"
DRAFT_MOUNT_PATH = "/draft-model"
CACHE_PATH = "/cache"
_STARTUP_SECONDS = {"builtin": 600, "pvc": 1200, "oci": 1200, "hf": 1200}
_DOWNLOAD_SECONDS = 2700


@dataclass(frozen=True)
class Download:
    """What comes from the Hub before the engine starts, by a container of that name."""

    container: str
    source: str
    revision: str | None
    folder: str


@dataclass(frozen=True)
class ModelMount:
    """`argument` is what the engine is given as MODEL; volumes and mounts make it readable.

    `startup_seconds` is how long the engine may take until it serves, `download_seconds` how long
    the downloads before it. `draft_argument` is the model that drafts, None without one, which is
    among volumes and downloads as well.
    """

    argument: str
    volumes: tuple[dict[str, Any], ...]
    mounts: tuple[dict[str, Any], ...]
    startup_seconds: int
    downloads: tuple[Download, ...]
    draft_argument: str | None = None

    @property
    def download_seconds(self) -> int:
        return _DOWNLOAD_SECONDS if self.downloads else 0


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
        downloads=_downloads(model, draft),
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


def _downloads(model: ModelSource, draft: ModelSource | None) -> tuple[Download, ...]:
    named = (("download", model), ("download-draft", draft))
    found = {
        _folder(each): Download(container, each.source, each.revision, _folder(each))
        for container, each in reversed(named)
        if each is not None and _scheme(each) == "hf"
    }
    return tuple(reversed(found.values()))


def _folder(model: ModelSource) -> str:
    """Where a model of the Hub is kept. Its name comes last: clients may see it."""
    name = model.source.partition("://")[2]
    return f"{CACHE_PATH}/models/{(model.revision or 'main').replace('/', '--')}/{name}"


def _argument(model: ModelSource, mount_path: str) -> str:
    """The model as the engine is given it, its volume being at `mount_path`."""
    scheme, _, rest = model.source.partition("://")
    if scheme == "hf":
        return _folder(model)
    if scheme == "pvc":
        path = rest.partition("/")[2]
        return f"{mount_path}/{path}" if path else mount_path
    return mount_path if scheme == "oci" else model.source
