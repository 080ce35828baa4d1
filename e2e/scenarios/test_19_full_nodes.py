"""An edit that needs another replica where nodes are full takes the room that there is, and waits
for the rest."""

from collections.abc import Iterator

import pytest

from e2e.cluster.fake_gpus import RESOURCE, TAINT, FakeGpus
from e2e.cluster.handle import ClusterHandle
from e2e.support.fake_nodes import fake_nodes
from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of, script_pod, tiny
from plimsoll_operator.observed import is_ready

NAME = "full"
THREE = FakeGpus("NVIDIA-L4", 23034, count=3)
STRANGER = "stranger"


def stranger() -> Object:
    """A pod of somebody else that holds one of the GPUs."""
    pod = script_pod(STRANGER, "example.invalid/stranger:1", "")
    pod["spec"]["containers"][0]["resources"] = {"limits": {RESOURCE: "1"}}
    pod["spec"]["tolerations"] = [{**TAINT, "operator": "Equal"}]
    return pod


@pytest.fixture
def full_node(cluster: ClusterHandle, kubectl: Kubectl) -> Iterator[None]:
    """One node with three GPUs that are not there, of which two are free."""
    with fake_nodes(cluster, 1, THREE):
        kubectl.apply(stranger())
        eventually("it has its GPU", lambda: is_ready(kubectl.get("pod", STRANGER) or {}))
        yield
        kubectl.run("delete", "llmdeployment", NAME, "--ignore-not-found")
        eventually("its pods are gone", lambda: not kubectl.list("pods", pods_of(NAME)))


def contexts(pods: list[Object]) -> set[str]:
    """The longest contexts that their engines are told."""
    args = [word for pod in pods for word in pod["spec"]["containers"][0]["args"]]
    return {word for word in args if word.startswith("--max-model-len")}


def no_room(kubectl: Kubectl) -> str:
    """What is said of replicas that no node has room for, if it is."""
    found = condition(kubectl.get("llmdeployment", NAME), "Ready") or {}
    return found["message"] if found.get("reason") == "Unschedulable" else ""


@pytest.mark.usefixtures("full_node")
def test_an_edit_that_needs_more_room_than_there_is(kubectl: Kubectl) -> None:
    kubectl.apply(
        tiny(
            NAME,
            accelerators={"allow": [THREE.product]},
            precision={"weights": "BF16", "kvCache": "BF16"},
            rollout={"maxUnavailable": 1},
            scaling={"minReplicas": 2, "maxReplicas": 2},
        )
    )
    eventually("two serve", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    before = contexts(kubectl.list("pods", pods_of(NAME)))
    ready = []

    def moved() -> bool:
        pods = kubectl.list("pods", pods_of(NAME))
        ready.append(sum(map(is_ready, pods)))
        return len(pods) == 3 and ready[-1] == 2 and before.isdisjoint(contexts(pods))

    edit = {
        "model": {"source": "builtin://tiny", "maxContextLength": 1024},
        "scaling": {"minReplicas": 3, "maxReplicas": 3},
    }
    kubectl.merge("llmdeployment", NAME, {"spec": edit})
    eventually("two of the new plan serve, and a third waits", moved)
    assert min(ready) >= 1
    message = eventually("it says so", lambda: no_room(kubectl))
    print(message)
    assert message.startswith("2 of 3 replicas serve by this plan")
    assert "Insufficient nvidia.com/gpu" in message

    kubectl.run("delete", "pod", STRANGER)
    eventually("all three serve", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    assert sum(map(is_ready, kubectl.list("pods", pods_of(NAME)))) == 3
