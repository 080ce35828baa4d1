import pytest

from plimsoll_planner.accelerators import CATALOGUE, find, normalized, same_product


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
        ("cpu", "cpu"),
    ],
)
def test_labels_and_aliases(label: str, name: str) -> None:
    found = find(label)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("label", ["", "NVIDIA", "H300", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"])
def test_others_are_not_known(label: str) -> None:
    assert find(label) is None


def test_names_and_aliases_mean_one_product_each() -> None:
    names = [
        name
        for item in CATALOGUE
        for name in {normalized(alias) for alias in (item.name, *item.aliases)}
    ]
    assert sorted(names) == sorted(set(names))


def test_every_gpu_has_a_source_and_plausible_figures() -> None:
    for item in CATALOGUE:
        if item.name == "cpu":
            continue
        assert item.source.startswith("https://"), item.name
        assert 2**33 < item.memory_bytes < 2**38, item.name
        # GPUs that serve compute 20 to 500 FLOP in the time they read a byte.
        peak = item.flops(item.precisions[0])
        assert 20 < peak / item.bandwidth < 500, item.name
        assert item.link_bandwidth < item.bandwidth, item.name


def test_no_format_that_is_not_computed() -> None:
    turing = find("T4")
    assert turing is not None
    assert turing.precisions == ("FP32",)
    with pytest.raises(ValueError, match="does not compute in BF16"):
        turing.flops("BF16")


def test_cpu_takes_fp32_by_default() -> None:
    cpu = find("cpu")
    assert cpu is not None
    assert cpu.precisions == ("FP32", "BF16")


def test_unknown_products_are_compared_by_name() -> None:
    assert same_product("Acme-X1", "acme x1")
    assert not same_product("Acme-X1", "Acme-X2")
    assert not same_product("Acme-X1", "H200")
