"""Reads a model's config.json from where the model is, so that it can be planned."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from plimsoll_planner.models.fields import UnknownModelError
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.reader import read_model
from plimsoll_runtime.core.model_config import ModelConfig, UnsupportedModelError

MAX_CONFIG_BYTES = 1 << 20
TIMEOUT_SECONDS = 10.0
DEFAULT_ENDPOINT = "https://huggingface.co"


class ModelSourceError(Exception):
    """config.json cannot be read or does not describe a model that can be planned.

    `transient` is True where trying again later may help, as with a network that is down.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True)
class SourceModel:
    """A model that can be planned. `unserved` says why the engine cannot run it, empty if it
    can; `config` is the config.json that it was read from, as canonical JSON."""

    model: Model
    unserved: str = ""
    config: str = ""


@dataclass(frozen=True)
class SourceModels:
    """The model to serve, and the one that drafts for it, if any."""

    target: SourceModel
    draft: SourceModel | None = None

    @property
    def draft_model(self) -> Model | None:
        """The facts of the one that drafts."""
        return None if self.draft is None else self.draft.model

    @property
    def unserved(self) -> str:
        """Why the engine cannot run them, empty if it can."""
        if self.target.unserved or self.draft is None or not self.draft.unserved:
            return self.target.unserved
        return f"the draft model: {self.draft.unserved}"


def read_model_config(source: str, revision: str | None = None) -> SourceModel:
    """The facts of the model at `source` (builtin:// or hf://). Blocks on the network for hf://.

    Raises ModelSourceError, which says what to do instead.
    """
    scheme, _, rest = source.partition("://")
    if scheme == "builtin":
        return parse_config(_builtin_config(rest), source)
    if scheme == "hf":
        return parse_config(_hub_config(rest, revision or "main"), source)
    raise ModelSourceError(
        f"{source}: config.json cannot be read out of a volume or an image: set "
        "spec.model.configFrom to a ConfigMap that holds it (plimsoll plan: --model-config DIR)"
    )


def read_model_directory(directory: Path) -> SourceModel:
    """The facts of the model whose config.json lies in `directory`. Raises ModelSourceError."""
    path = directory / "config.json"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelSourceError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes")
        return parse_config(path.read_bytes(), str(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelSourceError(
            f"{path}: {reason}; give the folder that holds the model's config.json"
        ) from error


def parse_config(raw: bytes | str, origin: str) -> SourceModel:
    """The facts in the text of a config.json that came from `origin`. Raises ModelSourceError."""
    try:
        parsed = json.loads(raw)
    except ValueError as error:
        raise ModelSourceError(f"{origin}: config.json is not JSON: {error}") from error
    if not isinstance(parsed, Mapping):
        raise ModelSourceError(f"{origin}: config.json is not a JSON object")
    try:
        canonical = json.dumps(parsed, sort_keys=True, separators=(",", ":"))
        return SourceModel(read_model(parsed), _unserved(parsed), canonical)
    except (UnknownModelError, TypeError, ValueError) as error:
        raise ModelSourceError(f"{origin}: {error}") from error


def _unserved(config: Mapping[str, Any]) -> str:
    try:
        ModelConfig.from_hf(config)
    except UnsupportedModelError as error:
        return str(error)
    return ""


def _builtin_config(name: str) -> bytes:
    folder = files("plimsoll_runtime") / "builtin"
    entries = folder.iterdir() if folder.is_dir() else iter(())
    available = sorted(entry.name for entry in entries if (entry / "config.json").is_file())
    if name not in available:
        known = ", ".join(f"builtin://{item}" for item in available) or "none"
        raise ModelSourceError(
            f"builtin://{name}: no such model ships with Plimsoll; there are: {known}"
        )
    return (folder / name / "config.json").read_bytes()


def _hub_config(repository: str, revision: str) -> bytes:
    import httpx

    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    if not re.fullmatch(r"https?://[^\s/]+(/[^\s]*)?", endpoint):
        raise ModelSourceError(f"HF_ENDPOINT is not a URL: {endpoint!r}")
    url = f"{endpoint}/{repository}/resolve/{revision}/config.json"
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    out = (
        "or give its config.json: configFrom beside the source (plimsoll plan: --model-config DIR "
        "for spec.model)"
    )
    try:
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=True) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            _check_answer(response.status_code, url, revision, has_token=bool(token))
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_CONFIG_BYTES:
                    raise ModelSourceError(f"{url}: larger than {MAX_CONFIG_BYTES} bytes")
            return body
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ModelSourceError(
            f"{url}: {reason}; check the network and HF_ENDPOINT, {out}", transient=True
        ) from error


def _check_answer(status: int, url: str, revision: str, *, has_token: bool) -> None:
    if status == 200:
        return
    if status in (401, 403):
        way = "the token in HF_TOKEN has no access" if has_token else "set HF_TOKEN"
        way += ", or give configFrom, a ConfigMap with its config.json"
        raise ModelSourceError(f"{url}: HTTP {status}: the model is private or gated: {way}")
    if status == 404:
        raise ModelSourceError(
            f"{url}: HTTP 404: no such model, no revision {revision!r}, or no config.json in it"
        )
    raise ModelSourceError(
        f"{url}: HTTP {status}; try again later", transient=status >= 500 or status == 429
    )
