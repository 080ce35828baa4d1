"""Where a model comes from: a folder, one that ships with Plimsoll, or the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path

from plimsoll_runtime import builtin

HUB = "hf://"
FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "modules.json",
    "*_Pooling/config.json",
)
"""What is fetched: no code and no pickles."""


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
    if model.startswith(HUB):
        name = model.removeprefix(HUB)
        return ModelSource(_download(name, revision), name, model)
    if revision is not None:
        raise ModelSourceError(f"--revision is for models from {HUB}, not for {model}")
    if model.startswith(builtin.SCHEME):
        name = model.removeprefix(builtin.SCHEME)
        try:
            return ModelSource(builtin.path(name), name, model)
        except ValueError as error:
            raise ModelSourceError(str(error)) from error
    if "://" in model:
        raise ModelSourceError(
            f"{model}: a model is a folder, {builtin.SCHEME}NAME or {HUB}ORG/NAME"
        )
    folder = Path(model)
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "is not a folder"
        raise ModelSourceError(
            f"{model} {what}: give a folder with config.json, tokenizer.json and safetensors, "
            f"{builtin.SCHEME}NAME or {HUB}ORG/NAME"
        )
    name = folder.resolve().name
    return ModelSource(folder, name, name)


def _download(name: str, revision: str | None) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{HUB}{name}" + (f" at revision {revision}" if revision else "")
    if name.count("/") != 1 or not all(name.split("/")):
        raise ModelSourceError(f"{HUB}{name}: a model of the Hub is {HUB}ORG/NAME")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except HFValidationError as error:
        raise ModelSourceError(f"{HUB}{name}: not a name that the Hub allows") from error
    except GatedRepoError as error:
        raise ModelSourceError(
            f"{at} is gated: accept its terms on the Hub and set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelSourceError(f"{at}: no such revision") from error
    except RepositoryNotFoundError as error:
        raise ModelSourceError(
            f"{at}: no such model, or a private one: check the name, or set HF_TOKEN"
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelSourceError(
            f"{at}: the Hub cannot be reached and the model is not in the cache: check the "
            "network, HF_ENDPOINT and HF_HUB_OFFLINE, or give a folder"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise ModelSourceError(f"{at}: the Hub answered {status}") from error
    except (httpx.HTTPError, OSError) as error:
        reason = getattr(error, "strerror", None)
        detail = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise ModelSourceError(f"{at}: download failed: {detail}") from error
