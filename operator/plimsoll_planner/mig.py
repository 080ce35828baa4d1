"""MIG slices: a part of a GPU with its own memory and multiprocessors.

A profile such as `2g.20gb` has 2 compute slices and 20 GB of memory. Memory and its bandwidth come
in eighths (quarters on an A30 or RTX PRO 6000), which the profile's size tells; the sevenths that
compute comes in are some multiprocessors each and leave a few of the GPU unused. Profiles and
fractions: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html,
multiprocessors and memory: NVML's tables in https://github.com/NVIDIA/go-nvml (pkg/nvml/mock/gpus).

Slices reach each other neither over NVLink nor PCIe (no peer-to-peer, no NCCL:
https://docs.nvidia.com/datacenter/tesla/mig-user-guide/), so that a replica has one at most.
"""

import re
from dataclasses import replace

from plimsoll_planner.accelerator import GB, Accelerator

MEMORY_KEPT = 0.91
"""Share of its eighths that a slice has at least: 10.75 GiB of 11.7 on an H100-NVL, 4.75 of 5 on an
A100-40GB. A node's label says it exactly, and goes before this."""
_SLICE = re.compile(r"(?P<gpu>.+)-mig-(?P<profile>[1-7]g\.[0-9]+gb)([.+-].*)?")
_PROFILE = re.compile(r"([1-7])g\.([0-9]+)gb")


def split_slice(name: str) -> tuple[str, str] | None:
    """GPU and profile in a normalized name such as `h200-mig-1g.18gb`; None for a whole GPU.

    What follows a profile (`.me`: with media engines) makes no difference.
    """
    match = _SLICE.fullmatch(name)
    return None if match is None else (match["gpu"], match["profile"])


def slice_of(gpu: Accelerator, profile: str) -> Accelerator | None:
    """A slice of `gpu` by a profile such as `1g.18gb`; None where it has no such one."""
    match = _PROFILE.fullmatch(profile)
    if gpu.mig is None or match is None:
        return None
    compute, size = int(match[1]), int(match[2]) * GB
    whole = compute == gpu.mig.compute_slices
    memory = gpu.mig.memory_slices if whole else _memory_slices(gpu, size)
    if compute > gpu.mig.compute_slices or not 1 <= memory <= gpu.mig.memory_slices:
        return None
    share = memory / gpu.mig.memory_slices
    taken = max(share, compute / gpu.mig.compute_slices)
    multiprocessors = compute * gpu.mig.sms_per_slice / gpu.mig.sms
    return replace(
        gpu,
        name=f"{gpu.name}-MIG-{profile}",
        aliases=(),
        memory_bytes=int(gpu.memory_bytes * share * MEMORY_KEPT),
        bandwidth=gpu.bandwidth * share,
        peaks=gpu.peaks.scaled(min(1.0, multiprocessors)),
        link=None,
        mig=None,
        price_per_hour=_part(gpu.price_per_hour, taken),
        spot_price_per_hour=_part(gpu.spot_price_per_hour, taken),
    )


def _memory_slices(gpu: Accelerator, size: int) -> int:
    if gpu.mig is None:
        return 0
    return round(size / (gpu.memory_bytes / gpu.mig.memory_slices))


def _part(price: float | None, taken: float) -> float | None:
    """Of a GPU's price by the share that others cannot take: slices that fill it add up to it."""
    return None if price is None else price * taken
