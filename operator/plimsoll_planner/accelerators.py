"""Finds a product by what a node's label, a person or an override calls it."""

import re

from plimsoll_planner.accelerator import GB, MIB, TFLOP, Accelerator
from plimsoll_planner.catalogue import CATALOGUE
from plimsoll_planner.catalogue.others import CPU
from plimsoll_planner.mig import slice_of, split_slice

__all__ = [
    "CATALOGUE",
    "CPU",
    "GB",
    "MIB",
    "TFLOP",
    "Accelerator",
    "find",
    "normalized",
    "same_product",
]


def find(name: str, overrides: tuple[Accelerator, ...] = ()) -> Accelerator | None:
    """The product that a node label or a person calls `name`; None where it is not known.

    `overrides` go before the catalogue. Case, the vendor's prefix and the `-SHARED` suffix of
    time-sliced GPUs make no difference. A MIG slice, as `NVIDIA-H200-MIG-1g.18gb`, is derived from
    its GPU unless an override names the slice itself.
    """
    wanted = normalized(name)
    for item in overrides:
        if wanted in _names(item):
            return item
    if wanted in _INDEX:
        return _INDEX[wanted]
    split = split_slice(wanted)
    gpu = None if split is None else find(split[0], overrides)
    if split is None or gpu is None:
        return None
    return slice_of(gpu, split[1])


def same_product(one: str, other: str, overrides: tuple[Accelerator, ...] = ()) -> bool:
    """Whether two names mean the same product, also where the catalogue has none of them."""
    left, right = find(one, overrides), find(other, overrides)
    if left is None or right is None:
        return normalized(one) == normalized(other)
    return left.name == right.name


def normalized(name: str) -> str:
    """`NVIDIA-H200` → `h200`, `AMD_Instinct_MI300X_OAM` → `mi300x-oam`."""
    text = re.sub(r"[\s_]+", "-", name.strip().lower()).removesuffix("-shared")
    for prefix in ("nvidia-", "tesla-", "geforce-", "amd-", "instinct-", "intel-", "habana-"):
        text = text.removeprefix(prefix)
    return text


def _names(item: Accelerator) -> frozenset[str]:
    return frozenset(normalized(name) for name in (item.name, *item.aliases))


_INDEX = {name: item for item in CATALOGUE for name in _names(item)}
