"""Plans are made for the nodes that pods may run on."""

from typing import Any

import pytest

from plimsoll_operator.api.template import PodTemplate
from plimsoll_operator.planning.inventory import Inventory
from plimsoll_operator.planning.placement import ANYWHERE, placement
from plimsoll_planner.inputs import AcceleratorPool

TAINT = {"key": "dedicated", "value": "llm", "effect": "NoSchedule"}


def node(name: str, *, taints: tuple[dict[str, str], ...] = (), **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": name, **labels}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"nvidia.com/gpu": "8"}},
    }


def products(template: dict[str, Any] | None) -> list[str]:
    stated = AcceleratorPool("stated", 1, 1)
    nodes = (node("L4", pool="llm"), node("H200", taints=(TAINT,)), node("A100", pool="other"))
    parsed = None if template is None else PodTemplate.model_validate({"spec": template})
    inventory = Inventory(nodes, [stated])
    found = inventory.pools(placement(parsed))
    assert inventory.pools(placement(parsed)) is found
    return [pool.accelerator for pool in found]


def test_without_a_template_all_that_take_pods_count() -> None:
    assert products(None) == products({}) == ["A100", "L4", "stated"]
    assert placement(PodTemplate()) == ANYWHERE


def test_a_node_selector_narrows_what_is_planned_on() -> None:
    assert products({"nodeSelector": {"pool": "llm"}}) == ["L4", "stated"]
    assert products({"nodeSelector": {"pool": "none"}}) == ["stated"]


def test_a_selector_that_leaves_no_node_is_told() -> None:
    none = PodTemplate(spec={"nodeSelector": {"zone": "b", "pool": "none"}})
    with pytest.raises(ValueError, match=r"nodeSelector: .* labelled pool=none, zone=b: label"):
        Inventory([node("L4", pool="llm")]).pools_for(none)
    # Where there is nothing anyway, the selector is not to blame.
    assert Inventory().pools_for(none) == ()
    assert Inventory([node("L4", taints=(TAINT,))]).pools_for(none) == ()
    assert len(Inventory([node("L4", pool="llm")]).pools_for(None)) == 1


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"key": "dedicated", "value": "llm"}, True),
        ({"key": "dedicated", "value": "llm", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "dedicated", "value": "batch"}, False),
        ({"key": "dedicated"}, False),
        ({"key": "spot", "operator": "Exists"}, False),
    ],
)
def test_tolerations_widen_it(toleration: dict[str, str], tolerates: bool) -> None:
    assert ("H200" in products({"tolerations": [toleration]})) is tolerates
