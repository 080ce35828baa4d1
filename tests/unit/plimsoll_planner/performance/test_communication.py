"""Collectives against measured ones (aiconfigurator-core 0.12.0, vLLM's all-reduce in a graph)."""

from dataclasses import replace

import pytest

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.accelerators import find
from plimsoll_planner.performance.communication import all_reduce, all_to_all

KIB, MIB = 2**10, 2**20


def gpu(name: str) -> Accelerator:
    found = find(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "size", "message", "microseconds"),
    [
        ("A100", 2, 16 * KIB, 5.3),
        ("A100", 2, 64 * MIB, 388.5),
        ("A100", 8, 16 * KIB, 6.5),
        ("A100", 8, 64 * MIB, 594.2),
        ("H100", 2, 16 * KIB, 4.5),
        ("H100", 8, 16 * KIB, 5.3),
        ("H100", 8, 64 * MIB, 320.9),
        ("B200", 4, 16 * KIB, 7.4),
        ("L40S", 2, 4 * MIB, 229.4),
        ("L40S", 2, 64 * MIB, 3541.6),
        ("RTX-PRO-6000", 2, 64 * MIB, 1844.0),
        ("RTX-PRO-6000", 4, 64 * MIB, 3557.0),
    ],
)
def test_all_reduce_is_near_measured_ones(
    name: str, size: int, message: int, microseconds: float
) -> None:
    """`message` in bytes: the tables count elements of two."""
    cost = all_reduce(gpu(name), size)
    assert cost.fixed + cost.per_byte * message == pytest.approx(microseconds * 1e-6, rel=0.6)


@pytest.mark.parametrize(("size", "fastest", "slowest"), [(4, 4.8, 27.2), (8, 5.7, 60.1)])
def test_hosts_differ_in_what_more_than_two_cards_reach_over_pcie(
    size: int, fastest: float, slowest: float
) -> None:
    """Milliseconds for 64 MiB on two hosts with L40S; the prediction lies between."""
    seconds = all_reduce(gpu("L40S"), size).per_byte * 64 * MIB
    assert fastest <= seconds * 1e3 <= slowest


@pytest.mark.parametrize(("size", "microseconds"), [(2, 5.4), (4, 13.3), (8, 25.0)])
def test_each_card_on_pcie_adds_to_the_latency(size: int, microseconds: float) -> None:
    """L40S, vLLM's all-reduce of 256 bytes."""
    assert all_reduce(gpu("L40S"), size).fixed * 1e6 == pytest.approx(microseconds, rel=0.35)


def test_one_has_nobody_to_tell() -> None:
    assert all_reduce(gpu("L40S"), 1) == all_to_all(gpu("L40S"), 1)
    assert all_reduce(gpu("L40S"), 1).per_byte == 0


def test_cards_beyond_a_bridge_go_through_the_host() -> None:
    bridged = gpu("H100-NVL")
    within, beyond = all_reduce(bridged, 2), all_reduce(bridged, 4)
    assert beyond.per_byte > 5 * within.per_byte


def test_a_measured_share_goes_before() -> None:
    plain = gpu("H100")
    measured = replace(plain, efficiency=replace(plain.efficiency, link=0.25))
    assert all_reduce(measured, 8).per_byte == pytest.approx(3 * all_reduce(plain, 8).per_byte)


def test_no_link_is_refused() -> None:
    with pytest.raises(ValueError, match="no link to others; use one per replica"):
        all_reduce(replace(gpu("H200"), link=None), 2)
