"""Collectives against measured ones (aiconfigurator-core 0.12.0, vLLM's all-reduce in a graph)."""

from dataclasses import replace

import pytest

from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.accelerators import find
from plimsoll_planner.communication import all_reduce, all_to_all

KIB, MIB = 2**10, 2**20


def gpu(name: str) -> Accelerator:
    found = find(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "size", "message", "microseconds"),
    [
        ("A100", 2, 8 * KIB, 5.3),
        ("A100", 2, 32 * MIB, 388.5),
        ("A100", 8, 8 * KIB, 6.5),
        ("A100", 8, 32 * MIB, 594.2),
        ("H100", 2, 8 * KIB, 4.5),
        ("H100", 8, 8 * KIB, 5.3),
        ("B200", 4, 8 * KIB, 7.4),
        ("L40S", 2, 2 * MIB, 229.4),
        ("L40S", 2, 32 * MIB, 3541.6),
    ],
)
def test_all_reduce_is_near_measured_ones(
    name: str, size: int, message: int, microseconds: float
) -> None:
    cost = all_reduce(gpu(name), size)
    assert cost.fixed + cost.per_byte * message == pytest.approx(microseconds * 1e-6, rel=0.6)


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
