"""Copies a checkpoint's safetensors, memory-mapped, into a model; every tensor is accounted for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from plimsoll_runtime.kernels.used_pages import give_back
from plimsoll_runtime.model.parallel import Part

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What follows from config.json: rotary frequencies (in old checkpoints), shapes of packed weights.
DERIVED = ("rotary_emb.inv_freq", ".weight_shape")
# One number where all outputs have the same.
SCALE = ".weight_scale"


class WeightsError(ValueError):
    """The checkpoint and the model do not match, or a file is missing or broken."""


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """The file that holds each tensor, from the index of a sharded checkpoint or the one file.

    Raises WeightsError when a file is missing or unreadable.
    """
    index, single = folder / INDEX, folder / SINGLE
    if index.is_file():
        return _sharded(folder, index)
    if not single.is_file():
        raise WeightsError(
            f"{folder}: neither {SINGLE} nor {INDEX} is there; only the safetensors format is read"
        )
    try:
        with safe_open(single, framework="pt") as file:
            return dict.fromkeys(file.keys(), single)
    except SafetensorError as error:
        raise WeightsError(f"{single}: not a readable safetensors file: {error}") from error


def load_weights(
    targets: Mapping[str, Part],
    folder: Path,
    *,
    tied: bool,
    take: Callable[[str, Tensor], bool] = lambda _name, _read: False,
    loaded: Callable[[str], None] = lambda _: None,
) -> None:
    """Copies every tensor of the checkpoint, or the part of it that is wanted, to its target,
    converting it to the target's dtype. What is not wanted is not read. `take` gets each one's name
    and what was read, and may put it where it belongs itself (True), but not keep it; `loaded` is
    told of the name when it is there.

    With `tied`, the checkpoint may also hold the output head; it is the embedding again. Raises
    WeightsError for a missing, unexpected, mis-shaped or non-float tensor, naming it.
    """
    files = checkpoint_files(folder)
    missing = sorted(set(targets) - set(files))
    if missing:
        raise WeightsError(f"{folder}: the checkpoint lacks {_some(missing)}")
    redundant = {"lm_head.weight"} if tied else set()
    unexpected = sorted(
        name for name in set(files) - set(targets) - redundant if not name.endswith(DERIVED)
    )
    if unexpected:
        raise WeightsError(
            f"{folder}: the checkpoint has tensors that config.json gives no place: "
            f"{_some(unexpected)}"
        )
    by_file: dict[Path, list[str]] = {}
    for name in targets:
        by_file.setdefault(files[name], []).append(name)
    for path, names in by_file.items():
        _copy(path, names, targets, take, loaded)


def _sharded(folder: Path, index: Path) -> dict[str, Path]:
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        # The last part only: an index must not reach outside of its folder.
        files = {str(name): folder / Path(str(file)).name for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: not a readable index: {error!r}") from error
    for path in sorted(set(files.values())):
        if not path.is_file():
            raise WeightsError(f"{folder}: {path.name}, named in {INDEX}, is missing")
    return files


def _copy(
    path: Path,
    names: list[str],
    targets: Mapping[str, Part],
    take: Callable[[str, Tensor], bool],
    loaded: Callable[[str], None],
) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            for name in names:
                target = targets[name]
                shape = file.get_slice(name).get_shape()
                if name.endswith(SCALE) and shape in ([], [1]):
                    target.tensor.fill_(float(file.get_tensor(name)))
                    loaded(name)
                    continue
                if shape != target.whole_shape:
                    raise WeightsError(
                        f"{path}: {name} has shape {shape}, but config.json makes it "
                        f"{target.whole_shape}"
                    )
                if target.tensor.numel():
                    source = _read(file, name, target)
                    if source.dtype not in target.dtypes:
                        raise WeightsError(
                            f"{path}: {name} has dtype {source.dtype}, but config.json makes it "
                            f"{' or '.join(map(str, target.dtypes))}"
                        )
                    if not take(name, source):
                        target.fill(source)
                    give_back(source)
                loaded(name)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from error


def _read(file: Any, name: str, target: Part) -> Tensor:
    source: Tensor = file.get_tensor(name) if target.is_all else file.get_slice(name)[target.region]
    return source


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
