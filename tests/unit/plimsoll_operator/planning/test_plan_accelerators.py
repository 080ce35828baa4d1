"""Accelerator resources as the planner sees them."""

from dataclasses import replace
from typing import Any

import pytest

from plimsoll_operator.planning.accelerators import judge, overrides, verdicts
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.plans.choice import inputs_hash
from plimsoll_operator.reports.explanation import reasons
from plimsoll_planner.accelerator import Accelerator, LinkKind, Vendor
from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import AcceleratorPool
from plimsoll_planner.planner import plan
from plimsoll_planner.search.products import offer
from tests.unit.plimsoll_operator.samples import resource
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.models import request_for

NEW = {
    "products": ["Acme-X1", "ACME-X1-PCIe"],
    "memory": "32Gi",
    "bandwidth": "1.5T",
    "compute": {"fp32": "50T", "bf16": "400T"},
    "link": {"kind": "PCIe", "bandwidth": "32G"},
}


def accepted(**spec: Any) -> Accelerator:
    verdict = judge("one", spec)
    assert verdict.accelerator is not None, verdict.message
    return verdict.accelerator


def item(name: str, created: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}


def test_what_is_absent_is_the_catalogues() -> None:
    h200 = find("H200")
    assert h200 is not None
    found = accepted(products=["NVIDIA-H200"], pricePerHour="4.20", spotPricePerHour="2.1")
    assert (found.price_per_hour, found.spot_price_per_hour) == (4.2, 2.1)
    assert (found.name, found.peaks, found.link) == (h200.name, h200.peaks, h200.link)
    assert judge("one", {"products": ["H200"]}).product == "NVIDIA-H200"


def test_what_is_there_goes_before_it() -> None:
    found = accepted(
        products=["H200"],
        memory="100Gi",
        bandwidth="4T",
        compute={"bf16": "900T"},
        link={"kind": "InfinityFabric", "bandwidth": "400G", "joins": 4},
    )
    assert found.memory_bytes == 100 * 2**30
    assert found.bandwidth == 4e12
    assert (found.flops("BF16"), found.flops("FP8")) == (900e12, 1979e12)
    assert found.link is not None
    assert (found.link.kind, found.link.bandwidth, found.link.joins) == (LinkKind.XGMI, 4e11, 4)


def test_a_calibration_is_efficiencies_and_times() -> None:
    found = accepted(
        products=["H200"],
        calibration={
            "computeEfficiency": "0.7",
            "linkEfficiency": "1.0",
            "stepOverhead": "2.5ms",
            "sequenceOverhead": "0.01ms",
            "error": "0.04",
            "samples": 1200,
            "measuredAt": "2026-01-31T12:00:00Z",
        },
    )
    assert (found.efficiency.compute, found.efficiency.bandwidth) == (0.7, None)
    assert (found.efficiency.link, found.efficiency.error) == (1.0, 0.04)
    assert (found.step_seconds, found.sequence_seconds) == (0.0025, 1e-5)
    catalogued = find("H200")
    assert catalogued is not None
    assert found.request_seconds == catalogued.request_seconds, "what was not measured stays"


def test_a_new_product_is_described() -> None:
    found = accepted(**NEW)
    assert (found.name, found.vendor) == ("Acme-X1", Vendor.NVIDIA)
    assert find("acme x1 pcie", (found,)) is found
    assert find("Acme-X1") is None
    alone = {key: value for key, value in NEW.items() if key != "link"}
    assert accepted(**alone).most_in_replica == 1
    assert accepted(**NEW, resourceName="amd.com/gpu").vendor is Vendor.AMD


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"products": ["Acme-X1"]}, "Incomplete", "spec.memory and spec.bandwidth and spec.compu"),
        ({"products": ["H200", "H100"]}, "Ambiguous", "NVIDIA-H100-80GB-HBM3 and NVIDIA-H200"),
        ({"products": []}, "InvalidSpec", "spec.products"),
        ({"products": ["H200"], "pricePerHour": "4,20"}, "InvalidSpec", "such as 4.20"),
        ({"products": ["H200"], "pricePerHour": 4.2}, "InvalidSpec", "spec.pricePerHour"),
        ({"products": ["H200"], "bandwidth": "0"}, "InvalidSpec", "greater than zero"),
        ({"products": ["H200"], "compute": {"fp8": "0T"}}, "InvalidSpec", "spec.compute.fp8"),
        (
            {"products": ["H200"], "calibration": {"computeEfficiency": "1.2"}},
            "InvalidSpec",
            "share from 0 to 1",
        ),
        (
            {"products": ["H200-MIG-1g.18gb"], "link": {"kind": "PCIe", "bandwidth": "32G"}},
            "InvalidSpec",
            "a MIG slice reaches no other",
        ),
        (None, "InvalidSpec", "spec: is required"),
    ],
)
def test_what_cannot_be_used_says_why(spec: Any, reason: str, words: str) -> None:
    verdict = judge("one", spec)
    assert verdict.accelerator is None
    assert verdict.reason == reason
    assert words in verdict.message


def test_of_two_for_one_product_the_older_is_used() -> None:
    younger = item("a", "2026-02-01T00:00:00Z", products=["H200"], pricePerHour="1")
    older = item("b", "2026-01-01T00:00:00Z", products=["NVIDIA-H200"], pricePerHour="2")
    other = item("c", "2026-03-01T00:00:00Z", products=["L4"], pricePerHour="3")
    found = verdicts([younger, other, older])
    assert {one.name: one.reason for one in found} == {
        "b": "Overrides",
        "a": "Conflict",
        "c": "Overrides",
    }
    (refused,) = [one for one in found if one.reason == "Conflict"]
    assert "the Accelerator b is of the same product and older" in refused.message
    prices = {one.name: one.price_per_hour for one in overrides(found)}
    assert prices == {"NVIDIA-H200": 2.0, "NVIDIA-L4": 3.0}
    assert overrides(verdicts([older, younger, other])) == overrides(found)


def test_a_name_that_two_new_products_share_is_a_conflict() -> None:
    one = item("a", "2026-01-01T00:00:00Z", **NEW)
    two = item("b", "2026-01-01T00:00:00Z", **{**NEW, "products": ["Acme-Y", "acme-x1"]})
    assert [found.reason for found in verdicts([two, one])] == ["Describes", "Conflict"]


def test_explained_are_the_prices_that_count() -> None:
    known = (accepted(products=["L4"], pricePerHour="0.8", spotPricePerHour="0.3"),)
    pool = AcceleratorPool("NVIDIA-L4", 4, 2)
    request = replace(
        request_for(models.TINY, pool, replace(pool, spot=True), AcceleratorPool("H9", 1, 1)),
        accelerators=known,
    )
    told = "\n".join(reasons("builtin://tiny", request, plan(request)))
    assert "2 with 4 × NVIDIA-L4, 0.80 an hour each\n" in told
    assert "2 with 4 × NVIDIA-L4, 0.30 an hour each, spot\n" in told
    assert "1 with 1 × H9, no price\n" in told


def test_prices_of_nodes_go_first_and_spot_nodes_cost_the_spot_price() -> None:
    known = (accepted(products=["L4"], pricePerHour="0.8", spotPricePerHour="0.3"),)
    for pool, price in (
        (AcceleratorPool("NVIDIA-L4", 1, 1), 0.8),
        (AcceleratorPool("NVIDIA-L4", 1, 1, spot=True), 0.3),
        (AcceleratorPool("NVIDIA-L4", 1, 1, price_per_hour=0.5, spot=True), 0.5),
    ):
        request = replace(request_for(models.TINY, pool), accelerators=known)
        (product,) = offer(request).products
        assert product.price_per_hour == price
    no_spot = (accepted(products=["L4"], pricePerHour="0.8"),)
    pool = AcceleratorPool("NVIDIA-L4", 1, 1, spot=True)
    request = replace(request_for(models.TINY, pool), accelerators=no_spot)
    assert offer(request).products[0].price_per_hour == 0.8


def test_a_new_product_is_planned_on_and_a_price_decides() -> None:
    pools = (AcceleratorPool("Acme-X1", 1, 4), AcceleratorPool("NVIDIA-L40S", 1, 4))
    for price, taken in (("0.1", "Acme-X1"), ("9", "NVIDIA-L40S")):
        known = (
            accepted(**NEW, pricePerHour=price),
            accepted(products=["L40S"], pricePerHour="1.9"),
        )
        request = request_for(models.LLAMA_31_8B, *pools, tpot=None)
        result = plan(replace(request, accelerators=known))
        assert result.plan is not None
        assert result.plan.accelerator == taken
        assert result.plan.predicted.cost_per_million_tokens is not None


def test_what_is_known_of_accelerators_does_not_touch_a_plan_that_stands() -> None:
    spec = resource().spec
    assert spec is not None
    before = plan_request(spec, models.TINY, ())
    after = plan_request(spec, models.TINY, (), (accepted(products=["H200"], pricePerHour="4"),))
    assert before != after
    assert inputs_hash(before) == inputs_hash(after)
