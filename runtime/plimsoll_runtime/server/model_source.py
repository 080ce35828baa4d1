"""Where a model comes from: a folder, one that ships with Plimsoll, or the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path

from plimsoll_runtime import builtin
from plimsoll_runtime.hub.errors import HubError, told
from plimsoll_runtime.hub.listing import FILES, SCHEME, address


class ModelSourceError(ValueError):
    """The model cannot be had from where it is said to be; the message says why."""


@dataclass(frozen=True)
class ModelSource:
    """A model on this machine. `name` is what it is served as unless the user says otherwise;
    `root` is its origin as clients may see it."""

    folder: Path
    name: str
    root: str


def resolve_model(model: str, revision: str | None = None) -> ModelSource:
    """Finds MODEL, downloading it where need be. Raises ModelSourceError."""
    if model.startswith(SCHEME):
        name = model.removeprefix(SCHEME)
        try:
            return ModelSource(_download(name, revision), name, model)
        except HubError as error:
            raise ModelSourceError(str(error)) from error
    if revision is not None:
        raise ModelSourceError(f"--revision is for models from {SCHEME}, not for {model}")
    if model.startswith(builtin.SCHEME):
        name = model.removeprefix(builtin.SCHEME)
        try:
            return ModelSource(builtin.path(name), name, model)
        except ValueError as error:
            raise ModelSourceError(str(error)) from error
    if "://" in model:
        raise ModelSourceError(
            f"{model}: a model is a folder, {builtin.SCHEME}NAME or {SCHEME}ORG/NAME"
        )
    folder = Path(model)
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "is not a folder"
        raise ModelSourceError(
            f"{model} {what}: give a folder with config.json, tokenizer.json and safetensors, "
            f"{builtin.SCHEME}NAME or {SCHEME}ORG/NAME"
        )
    name = folder.resolve().name
    return ModelSource(folder, name, name)


def _download(name: str, revision: str | None) -> Path:
    """Into the Hub's own cache, which other programs use as well."""
    from huggingface_hub import snapshot_download

    at = address(name, revision)
    with told(at):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
