"""The operator dies in mid-rollout, or is away when a resource is deleted."""

import contextlib
from collections.abc import Iterator

from e2e.support.kubectl import Kubectl, Object, eventually, is_true
from e2e.support.resources import CHILD_KINDS, pods_of, tiny

NAME = "orphan"


@contextlib.contextmanager
def operator_away(system: Kubectl) -> Iterator[None]:
    """No operator runs inside the block."""
    system.run("scale", "deployment/plimsoll-operator", "--replicas=0")
    eventually("the operator is gone", lambda: not operator_pods(system))
    try:
        yield
    finally:
        system.run("scale", "deployment/plimsoll-operator", "--replicas=1")
        system.run("rollout", "status", "deployment/plimsoll-operator", "--timeout=120s")


def operator_pods(system: Kubectl) -> list[Object]:
    return system.list("pods", "app.kubernetes.io/name=plimsoll-operator")


def containers(kubectl: Kubectl, name: str) -> dict[str, int]:
    """Restarts by pod."""
    return {
        pod["metadata"]["name"]: sum(
            status["restartCount"] for status in pod["status"].get("containerStatuses", [])
        )
        for pod in kubectl.list("pods", pods_of(name))
    }


def test_killed_in_mid_rollout(kubectl: Kubectl, system: Kubectl, serving: str) -> None:
    before = kubectl.get("llmdeployment", serving)
    assert before is not None
    kubectl.merge("llmdeployment", serving, {"spec": {"model": {"maxContextLength": 1024}}})
    eventually(
        "the rollout has begun",
        lambda: len(kubectl.list("pods", pods_of(serving))) > 1,
        every=0.2,
    )
    (pod,) = operator_pods(system)
    system.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")

    def settled() -> Object | None:
        resource = kubectl.get("llmdeployment", serving)
        if not resource or not is_true(resource, "Ready"):
            return None
        if resource["status"]["plan"]["maxModelLen"] != 1024:
            return None
        return resource if len(kubectl.list("pods", pods_of(serving))) == 1 else None

    eventually("the edit serves", settled)
    system.run("rollout", "status", "deployment/plimsoll-operator", "--timeout=120s")
    pods = containers(kubectl, serving)

    # A second restart of the operator finds everything as it should be and touches nothing.
    (pod,) = operator_pods(system)
    system.run("delete", "pod", pod["metadata"]["name"])
    eventually(
        "another operator is ready",
        lambda: [
            other
            for other in operator_pods(system)
            if other["metadata"]["name"] != pod["metadata"]["name"]
            and any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in other["status"].get("conditions", [])
            )
        ],
    )
    version = deployment_version(kubectl, serving)
    kubectl.run("annotate", "llmdeployment", serving, "e2e.plimsoll.dev/poke=1", "--overwrite")
    with contextlib.suppress(AssertionError):
        eventually("nothing", lambda: deployment_version(kubectl, serving) != version, timeout=10)
    assert deployment_version(kubectl, serving) == version
    assert containers(kubectl, serving) == pods
    assert set(pods.values()) == {0}
    kubectl.merge("llmdeployment", serving, {"spec": {"model": {"maxContextLength": 2048}}})
    eventually("ready again", lambda: is_true(kubectl.get("llmdeployment", serving), "Ready"))


def deployment_version(kubectl: Kubectl, name: str) -> str:
    deployment = kubectl.get("deployment", name)
    assert deployment is not None
    return str(deployment["metadata"]["generation"])


def test_delete_while_the_operator_is_away(kubectl: Kubectl, system: Kubectl) -> None:
    kubectl.apply(tiny(NAME))
    eventually("ready", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    with operator_away(system):
        kubectl.run("delete", "llmdeployment", NAME, "--timeout=10s")
        eventually(
            "every child is gone",
            lambda: not kubectl.list(f"{CHILD_KINDS},pods", f"app.kubernetes.io/instance={NAME}"),
            timeout=20,
        )
