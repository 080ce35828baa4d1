from decimal import Decimal
from typing import Any

import pytest
import yaml

from plimsoll_operator.planning.inventory import pools_from_nodes
from plimsoll_operator.planning.inventory_file import InventoryError, read_inventory
from plimsoll_planner.inputs import AcceleratorPool


def gpu_node(name: str = "gpu-1", **changes: Any) -> dict[str, Any]:
    node: dict[str, Any] = {
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "nvidia.com/gpu.product": "NVIDIA-H200",
                "nvidia.com/gpu.memory": "143771",
                "nvidia.com/gpu.count": "8",
            },
            "annotations": {"plimsoll.dev/price-per-hour": "4.20"},
        },
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {
            "allocatable": {"cpu": "96", "memory": "1Ti", "nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    for part, change in changes.items():
        node[part] = {**node[part], **change}
    return node


def cpu_node(name: str = "cpu-1", cpu: str = "2", memory: str = "16Gi") -> dict[str, Any]:
    return {
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"allocatable": {"cpu": cpu, "memory": memory}},
    }


def test_a_gpu_node_counts_by_its_labels() -> None:
    assert pools_from_nodes([gpu_node()]) == (
        AcceleratorPool("NVIDIA-H200", 8, 1, 143771 * 2**20, 4.2),
    )


def test_equal_nodes_are_one_pool_in_any_order() -> None:
    nodes = [cpu_node("a"), gpu_node("b"), cpu_node("c"), gpu_node("d")]
    expected = (
        AcceleratorPool("NVIDIA-H200", 8, 2, 143771 * 2**20, 4.2),
        AcceleratorPool("cpu", 2, 2, 16 * 2**30, None),
    )
    assert pools_from_nodes(nodes) == expected
    assert pools_from_nodes(reversed(nodes)) == expected


@pytest.mark.parametrize(
    "node",
    [
        gpu_node(spec={"unschedulable": True}),
        gpu_node(spec={"taints": [{"key": "upgrade", "effect": "NoExecute"}]}),
        gpu_node(metadata={"labels": {}}),
        gpu_node(status={"conditions": [{"type": "Ready", "status": "Unknown"}]}),
        {**cpu_node(), "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}},
        cpu_node(cpu="500m"),
        {"kind": "Node"},
    ],
)
def test_nodes_that_take_no_engine_are_left_out(node: dict[str, Any]) -> None:
    assert pools_from_nodes([node]) == ()


def test_a_preference_repels_nobody() -> None:
    node = {**cpu_node(), "spec": {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}}
    assert len(pools_from_nodes([node])) == 1


def test_what_is_used_is_not_offered() -> None:
    used = {
        "gpu-1": {"nvidia.com/gpu": Decimal(3)},
        "cpu-1": {"cpu": Decimal("0.5"), "memory": Decimal(2**30)},
    }
    assert pools_from_nodes([gpu_node(), cpu_node()], used) == (
        AcceleratorPool("NVIDIA-H200", 5, 1, 143771 * 2**20, 4.2),
        AcceleratorPool("cpu", 1, 1, 15 * 2**30, None),
    )


def test_a_full_gpu_node_is_no_cpu_node() -> None:
    assert pools_from_nodes([gpu_node()], {"gpu-1": {"nvidia.com/gpu": Decimal(8)}}) == ()


SHARING = [
    {"nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.replicas": "4"},
    {"nvidia.com/gpu.sharing-strategy": "mps"},
    {"nvidia.com/gpu.replicas": "4"},
    {"nvidia.com/gpu.product": "NVIDIA-H200-SHARED"},
]


@pytest.mark.parametrize("labels", SHARING)
def test_gpus_that_pods_share_are_marked(labels: dict[str, str]) -> None:
    node = gpu_node()
    node["metadata"]["labels"].update(labels)
    (pool,) = pools_from_nodes([node])
    assert pool.shared
    whole, shared = sorted(pools_from_nodes([node, gpu_node("b")]), key=lambda pool: pool.shared)
    assert (whole.shared, shared) == (False, pool)


@pytest.mark.parametrize("replicas", ["0", "1", "", "many"])
def test_gpus_that_nobody_shares_are_not(replicas: str) -> None:
    node = gpu_node()
    node["metadata"]["labels"] |= {
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu.replicas": replicas,
    }
    assert pools_from_nodes([node]) == pools_from_nodes([gpu_node()])


MIG_LABELS = {
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/mig.strategy": "mixed",
    "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
    "nvidia.com/mig-1g.10gb.memory": "9984",
    "nvidia.com/mig-3g.40gb.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
    "nvidia.com/mig-3g.40gb.memory": "40448",
}


def mig_node(**allocatable: str) -> dict[str, Any]:
    resources = {f"nvidia.com/{name}": count for name, count in allocatable.items()}
    node = gpu_node(status={"allocatable": {"cpu": "96", "memory": "1Ti", **resources}})
    node["metadata"]["labels"] = MIG_LABELS
    return node


def test_slices_of_the_mixed_strategy_are_pools_of_their_own() -> None:
    node = mig_node(**{"gpu": "6", "mig-1g.10gb": "4", "mig-3g.40gb": "2"})
    # The annotation is of whole GPUs: what slices cost, an Accelerator says.
    assert pools_from_nodes([node]) == (
        AcceleratorPool("NVIDIA-H100-80GB-HBM3", 6, 1, 81559 * 2**20, 4.2),
        AcceleratorPool(
            "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb",
            4,
            1,
            9984 * 2**20,
            resource="nvidia.com/mig-1g.10gb",
        ),
        AcceleratorPool(
            "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
            2,
            1,
            40448 * 2**20,
            resource="nvidia.com/mig-3g.40gb",
        ),
    )


def test_a_node_of_slices_only_has_no_gpus_and_is_no_cpu_node() -> None:
    (pool,) = pools_from_nodes([mig_node(**{"gpu": "0", "mig-1g.10gb": "7"})])
    assert (pool.accelerator, pool.count) == ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 7)


def test_slices_of_the_single_strategy_are_gpus_of_another_product() -> None:
    node = gpu_node(status={"allocatable": {"nvidia.com/gpu": "56"}})
    node["metadata"]["labels"] = {
        "nvidia.com/gpu.product": "NVIDIA-H200-MIG-1g.18gb",
        "nvidia.com/gpu.memory": "16384",
        "nvidia.com/mig.strategy": "single",
    }
    (pool,) = pools_from_nodes([node])
    assert pool == AcceleratorPool("NVIDIA-H200-MIG-1g.18gb", 56, 1, 16384 * 2**20, 4.2)


def other_node(resource: str, labels: dict[str, str], taint: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "other", "labels": labels},
        "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "96", "memory": "1Ti", resource: "8"}},
    }


def test_amds_gpus_and_gaudis_count_by_their_own_labels() -> None:
    labels = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}
    amd = other_node("amd.com/gpu", labels, "amd.com/gpu")
    gaudi = other_node(
        "habana.ai/gaudi", {"plimsoll.dev/accelerator": "Gaudi-3"}, "habana.ai/gaudi"
    )
    assert pools_from_nodes([amd, gaudi]) == (
        AcceleratorPool("AMD_Instinct_MI300X_OAM", 8, 1, 192 * 2**30, resource="amd.com/gpu"),
        AcceleratorPool("Gaudi-3", 8, 1, resource="habana.ai/gaudi"),
    )
    nameless = other_node("habana.ai/gaudi", {}, "habana.ai/gaudi")
    strange = other_node("amd.com/gpu", labels, "nvidia.com/gpu")
    assert pools_from_nodes([nameless, strange]) == ()


@pytest.mark.parametrize(
    "label",
    [
        ("karpenter.sh/capacity-type", "spot"),
        ("eks.amazonaws.com/capacityType", "SPOT"),
        ("cloud.google.com/gke-spot", "true"),
        ("kubernetes.azure.com/scalesetpriority", "spot"),
    ],
)
def test_nodes_that_may_be_taken_away_are_marked(label: tuple[str, str]) -> None:
    for node in (gpu_node(), cpu_node()):
        node["metadata"].setdefault("labels", {})[label[0]] = label[1]
        (pool,) = pools_from_nodes([node])
        assert pool.spot
        node["metadata"]["labels"][label[0]] = "on-demand"
        (pool,) = pools_from_nodes([node])
        assert not pool.spot


def test_a_short_list_says_sharing_by_the_products_name() -> None:
    short = yaml.safe_load("[{accelerator: NVIDIA-L4-SHARED}, {accelerator: NVIDIA-L4}]")
    assert [pool.shared for pool in read_inventory([short]).pools()] == [True, False]


def test_prices_and_memory_that_make_no_sense_are_unknown() -> None:
    odd = gpu_node(
        metadata={
            "labels": {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "much"},
            "annotations": {"plimsoll.dev/price-per-hour": "cheap"},
        }
    )
    assert pools_from_nodes([odd]) == (AcceleratorPool("NVIDIA-L4", 8, 1, None, None),)


def test_short_list_and_node_list_are_both_read() -> None:
    short = yaml.safe_load("[{accelerator: NVIDIA-L4, count: 4, nodes: 2, pricePerHour: 0.8}]")
    assert read_inventory([short]).pools() == (AcceleratorPool("NVIDIA-L4", 4, 2, None, 0.8),)
    listed = {"kind": "List", "items": [cpu_node()]}
    assert read_inventory([listed]).pools() == read_inventory([cpu_node()]).pools()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words", "neither nodes nor a list"),
        ("[3]", "[0]: 3 is not an object"),
        ("[{count: 4}]", "[0].accelerator: None"),
        ("[{accelerator: L4, count: many}]", "[0].count: 'many': give a whole number"),
        ("[{accelerator: L4, count: 0}]", "[0].count: 0: give a whole number"),
        ("[{accelerator: L4, gpus: 4}]", "[0].gpus: unknown field"),
        ("[{accelerator: cpu, memory: 4 apples}]", "[0].memory: not a quantity: '4 apples'"),
        ('[{accelerator: cpu, pricePerHour: "-1"}]', "[0].pricePerHour: not a quantity: '-1'"),
        ("{items: [{kind: Pod}]}", "items[0]: not a Node"),
    ],
)
def test_what_is_not_an_inventory_is_explained(text: str, said: str) -> None:
    with pytest.raises(InventoryError) as caught:
        read_inventory([yaml.safe_load(text)])
    assert said in str(caught.value)
