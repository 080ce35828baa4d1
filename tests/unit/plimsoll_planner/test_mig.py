from dataclasses import replace

import pytest

from plimsoll_planner.accelerator import MIB, Accelerator
from plimsoll_planner.accelerators import CATALOGUE, find, same_product

MEASURED = [
    # What drivers report of slices: https://github.com/NVIDIA/go-nvml (pkg/nvml/mock/gpus/a100.go),
    # https://github.com/NVIDIA/gpu-operator/pull/900.
    ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 4864, 14),
    ("NVIDIA-A100-SXM4-40GB-MIG-1g.10gb", 9856, 14),
    ("NVIDIA-A100-SXM4-40GB-MIG-2g.10gb", 9856, 28),
    ("NVIDIA-A100-SXM4-40GB-MIG-3g.20gb", 19968, 42),
    ("NVIDIA-A100-SXM4-40GB-MIG-7g.40gb", 40192, 98),
    ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", 9856, 14),
    ("NVIDIA-A100-SXM4-80GB-MIG-4g.40gb", 40192, 56),
    ("NVIDIA-H100-NVL-MIG-1g.12gb", 10.75 * 1024, 16),
    ("NVIDIA-H100-NVL-MIG-2g.24gb", 21.62 * 1024, 32),
    ("NVIDIA-H100-NVL-MIG-3g.47gb", 46.38 * 1024, 48),
]


def gpu(name: str) -> Accelerator:
    found = find(name)
    assert found is not None, name
    return found


@pytest.mark.parametrize(("label", "mebibytes", "multiprocessors"), MEASURED)
def test_slices_against_what_drivers_report(
    label: str, mebibytes: float, multiprocessors: int
) -> None:
    part, whole = gpu(label), gpu(label.split("-MIG-", maxsplit=1)[0])
    assert whole.mig is not None
    assert 0.9 < part.memory_bytes / (mebibytes * MIB) <= 1
    share = part.flops("BF16") / whole.flops("BF16")
    assert share == pytest.approx(multiprocessors / whole.mig.sms)


@pytest.mark.parametrize(
    ("label", "eighths"),
    [
        ("NVIDIA-H200-MIG-1g.18gb", 1),
        ("NVIDIA-H200-MIG-1g.35gb", 2),
        ("NVIDIA-H200-MIG-3g.71gb", 4),
        ("NVIDIA-H200-MIG-7g.141gb", 8),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 1),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.20gb", 2),
        ("NVIDIA-H100-80GB-HBM3-MIG-2g.20gb", 2),
        ("NVIDIA-H100-80GB-HBM3-MIG-4g.40gb", 4),
        ("NVIDIA-B200-MIG-1g.23gb", 1),
        ("NVIDIA-B200-MIG-2g.45gb", 2),
        ("NVIDIA-B200-MIG-3g.90gb", 4),
        ("NVIDIA-B300-SXM6-AC-MIG-1g.34gb", 1),
        ("NVIDIA-B300-SXM6-AC-MIG-4g.135gb", 4),
        ("NVIDIA-A30-MIG-1g.6gb", 2),
        ("NVIDIA-A30-MIG-2g.12gb", 4),
        ("NVIDIA-A30-MIG-4g.24gb", 8),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition-MIG-2g.48gb", 4),
    ],
)
def test_bandwidth_comes_in_eighths(label: str, eighths: int) -> None:
    whole = gpu(label.split("-MIG-", maxsplit=1)[0])
    assert gpu(label).bandwidth / whole.bandwidth == pytest.approx(eighths / 8)


def test_a_slice_works_alone_and_is_a_product_of_its_own() -> None:
    part = gpu("NVIDIA-H200-MIG-1g.18gb")
    assert part.link is None
    assert part.most_in_replica == 1
    assert part.resource == "nvidia.com/gpu"
    assert not same_product("NVIDIA-H200", part.name)
    assert same_product("h200-mig-1g.18gb", part.name)
    assert gpu("NVIDIA-H200-MIG-1g.18gb.me") == part
    assert find(f"{part.name}-MIG-1g.5gb") is None


@pytest.mark.parametrize(
    "label", ["NVIDIA-L4-MIG-1g.6gb", "NVIDIA-A30-MIG-7g.24gb", "NVIDIA-H200-MIG-INVALID"]
)
def test_there_are_no_other_slices(label: str) -> None:
    assert find(label) is None


@pytest.mark.parametrize("item", [a for a in CATALOGUE if a.mig], ids=lambda a: a.name)
def test_slices_that_fill_a_gpu_cost_what_it_costs(item: Accelerator) -> None:
    assert item.mig is not None
    priced = (replace(item, price_per_hour=7.0),)
    size = item.memory_bytes // 10**9 // item.mig.memory_slices
    part = find(f"{item.name}-MIG-1g.{size}gb", priced)
    assert part is not None
    assert part.price_per_hour == pytest.approx(7.0 / item.mig.compute_slices)
    half = find(f"{item.name}-MIG-3g.{4 * size}gb", priced)
    if item.mig.compute_slices == 7:
        assert half is not None
        assert half.price_per_hour == pytest.approx(3.5)
