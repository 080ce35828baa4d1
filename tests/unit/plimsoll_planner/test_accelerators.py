import re
from dataclasses import fields

import pytest

from plimsoll_planner.accelerator import PRECISIONS, Efficiency, LinkKind, Vendor
from plimsoll_planner.accelerators import (
    CATALOGUE,
    Accelerator,
    find,
    normalized,
    same_product,
)

GPUS = tuple(item for item in CATALOGUE if item.vendor is not Vendor.CPU)
NAMED = pytest.mark.parametrize("item", GPUS, ids=lambda item: item.name)

ASKED_FOR = (
    *("A10G", "A100-PCIE-40GB", "A100-80GB-PCIe", "A100-SXM4-40GB", "A100-SXM4-80GB", "L4"),
    *("L40S", "T4", "RTX-4090", "RTX-5090", "RTX-6000-Ada", "H100-PCIe"),
    *("H100-SXM", "H100-NVL", "H200", "B200", "GB200", "MI300X"),
    *("Gaudi-3", "cpu", "A10", "A30", "A40", "RTX-A6000"),
    *("RTX-PRO-6000", "L20", "H20", "H800", "A800", "MI210"),
    *("MI250X", "MI325X", "MI355X", "Gaudi-2", "B300", "GB300"),
)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("NVIDIA-H200", "NVIDIA-H200"),
        ("H200", "NVIDIA-H200"),
        ("nvidia h200", "NVIDIA-H200"),
        ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-80GB-HBM3"),
        ("NVIDIA-H100-80GB-HBM3-SHARED", "NVIDIA-H100-80GB-HBM3"),
        ("Tesla-T4", "Tesla-T4"),
        ("NVIDIA-T4", "Tesla-T4"),
        ("NVIDIA-A10G", "NVIDIA-A10G"),
        ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB"),
        ("NVIDIA-GeForce-RTX-4090", "NVIDIA-GeForce-RTX-4090"),
        ("AMD_Instinct_MI300X_OAM", "AMD_Instinct_MI300X_OAM"),
        ("MI300X", "AMD_Instinct_MI300X_OAM"),
        ("gaudi3", "Gaudi-3"),
        ("cpu", "cpu"),
    ],
)
def test_labels_and_aliases(label: str, name: str) -> None:
    found = find(label)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("label", ["", "NVIDIA", "H300", "NVIDIA-H300-MIG-1g.10gb"])
def test_others_are_not_known(label: str) -> None:
    assert find(label) is None


@pytest.mark.parametrize("name", ASKED_FOR)
def test_what_the_field_runs_on_is_there(name: str) -> None:
    assert find(name) is not None


def test_names_and_aliases_mean_one_product_each() -> None:
    names = [
        name
        for item in CATALOGUE
        for name in {normalized(alias) for alias in (item.name, *item.aliases)}
    ]
    assert sorted(names) == sorted(set(names))


@NAMED
def test_every_figure_has_a_source(item: Accelerator) -> None:
    known = {field.name: getattr(item.sources, field.name) for field in fields(item.sources)}
    if item.efficiency == Efficiency():
        assert known.pop("efficiency") is None
    for name, source in known.items():
        assert re.fullmatch(r"https://[^\s]+", source), name


@NAMED
def test_figures_are_plausible(item: Accelerator) -> None:
    assert 2**33 < item.memory_bytes < 2**39
    # Accelerators that serve compute 20 to 500 FLOP in the time they read a byte.
    assert 20 < item.flops(item.precisions[0]) / item.bandwidth <= 500
    # One that reads all of its memory more often than 35 times a second would be news.
    assert 8 < item.bandwidth / item.memory_bytes < 60
    assert item.link_bandwidth < item.bandwidth / 4


@NAMED
def test_formats_keep_the_ratios_of_their_widths(item: Accelerator) -> None:
    """Half the width is twice the rate, dense: a figure with sparsity would stand out by two."""
    peaks = item.peaks
    if peaks.bf16 is not None:
        assert peaks.fp16 == (None if item.vendor is Vendor.INTEL else peaks.bf16)
        if peaks.tf32 is not None:
            assert peaks.bf16 / peaks.tf32 == pytest.approx(2, rel=0.02)
    if peaks.fp8 is not None and peaks.bf16 is not None and item.name != "Gaudi-3":
        assert peaks.fp8 / peaks.bf16 == pytest.approx(2, rel=0.02)
    if peaks.fp4 is not None and peaks.fp8 is not None:
        # Blackwell Ultra and GeForce do more in FP4 than twice FP8.
        assert 1.99 <= peaks.fp4 / peaks.fp8 <= 4.01


@NAMED
def test_links_are_of_their_kind_and_one_way(item: Accelerator) -> None:
    link = item.link
    assert link is not None
    assert link.joins >= 2
    lane = link.bandwidth / link.lanes
    usual = {
        (LinkKind.PCIE, 3): 1e9,
        (LinkKind.PCIE, 4): 2e9,
        (LinkKind.PCIE, 5): 4e9,
        (LinkKind.NVLINK, 3): 25e9,
        (LinkKind.NVLINK, 4): 25e9,
        (LinkKind.NVLINK, 5): 50e9,
    }
    assert lane == usual.get((link.kind, link.generation), lane)
    most = {LinkKind.PCIE: 64e9, LinkKind.NVLINK: 900e9, LinkKind.XGMI: 540e9, LinkKind.ROCE: 6e11}
    assert link.bandwidth <= most[link.kind]


def test_resources_are_what_the_vendors_device_plugins_offer() -> None:
    offered = {Vendor.NVIDIA: "nvidia.com/gpu", Vendor.AMD: "amd.com/gpu"}
    for item in CATALOGUE:
        assert item.resource == offered.get(item.vendor, item.resource)


def test_traps_of_data_sheets() -> None:
    # 330 TFLOPS is with FP16 accumulation, 733 and 242 are with sparsity.
    for name, bf16 in (
        ("RTX-4090", 165.2e12),
        ("L40S", 362e12),
        ("L4", 121e12),
        ("H200", 989e12),
    ):
        found = find(name)
        assert found is not None
        assert found.flops("BF16") == bf16


def test_no_format_that_is_not_computed() -> None:
    turing = find("T4")
    assert turing is not None
    assert turing.precisions == ("FP32",)
    assert turing.flops("FP16") == 65e12
    with pytest.raises(ValueError, match="does not compute in BF16"):
        turing.flops("BF16")


def test_all_formats_can_be_asked_for() -> None:
    gpu = find("B200")
    assert gpu is not None
    assert [gpu.flops(name) / 1e12 for name in PRECISIONS] == [
        75, 1125, 2250, 2250, 4500, 4500, 9000,
    ]  # fmt: skip


def test_cpu_takes_bf16_by_default() -> None:
    cpu = find("cpu")
    assert cpu is not None
    assert cpu.precisions == ("BF16", "FP32")


def test_unknown_products_are_compared_by_name() -> None:
    assert same_product("Acme-X1", "acme x1")
    assert not same_product("Acme-X1", "Acme-X2")
    assert not same_product("Acme-X1", "H200")
