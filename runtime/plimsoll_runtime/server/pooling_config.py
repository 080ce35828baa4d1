"""How a model's folder wants its embeddings made: in the files of sentence-transformers."""

import json
from pathlib import Path
from typing import Any

from plimsoll_runtime.core.pooling import Pooling

MODULES = "modules.json"
DEFAULT_FOLDER = "1_Pooling"
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class PoolingConfigError(ValueError):
    """The folder asks for embeddings that cannot be made here; the message says why."""


def read_pooling(folder: Path) -> Pooling:
    """The pooling that `folder` asks for, of the last token where it says nothing.

    Raises PoolingConfigError.
    """
    path = folder / _pooling_folder(folder / MODULES) / "config.json"
    if not path.is_file():
        return Pooling.LAST
    config = _read(path)
    if not isinstance(config, dict):
        raise PoolingConfigError(f"{path}: a JSON object is expected")
    named = config.get("pooling_mode")
    if named is None:
        modes = [mode for key, mode in MODES.items() if config.get(key)]
        # As sentence-transformers has it.
        named = "+".join(modes) if modes else "mean"
    try:
        return Pooling(named)
    except ValueError:
        raise PoolingConfigError(
            f"{path}: pooling {named!r} is not supported, only {', '.join(Pooling)}: "
            "remove the file to serve the model with embeddings of the last token"
        ) from None


def _pooling_folder(path: Path) -> str:
    """Where modules.json says that pooling is configured; other parts may not be left out."""
    if not path.is_file():
        return DEFAULT_FOLDER
    modules = _read(path)
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise PoolingConfigError(f"{path}: a list of JSON objects is expected")
    found = DEFAULT_FOLDER
    for module in modules:
        name = str(module.get("type")).rpartition(".")[2]
        if name not in KNOWN_MODULES:
            raise PoolingConfigError(
                f"{path}: {module.get('type')} changes embeddings and is not supported, only "
                f"{', '.join(KNOWN_MODULES)}"
            )
        if name == "Pooling":
            found = str(module.get("path") or DEFAULT_FOLDER)
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PoolingConfigError(f"{path}: not JSON: {error}") from error
