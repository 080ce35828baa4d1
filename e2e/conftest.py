"""Fixtures of the end-to-end tests. One cluster, one operator and one namespace serve them all.

The cluster is the one that KUBECONFIG names, or one of ours, apart from the demo's: what runs there
takes up no room here, and the operator dies here without anyone missing it. Ours is taken down at
the end if it was not up at the start.
"""

import os
from collections.abc import Iterator

import pytest

from e2e.cluster.fake_gpus import FakeGpus
from e2e.cluster.handle import ClusterHandle
from e2e.support import install
from e2e.support.fake_nodes import fake_nodes
from e2e.support.kubectl import Kubectl, condition, eventually, is_true
from e2e.support.resources import tiny
from e2e.support.traffic import kubectl_proxy

NAMESPACE = "plimsoll-e2e"
NAME = "tiny"
SECONDS = 400
os.environ.setdefault("PLIMSOLL_CLUSTER", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pods take longer than the unit tests' limit allows."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterHandle]:
    was_up = install.is_up()
    handle = install.cluster()
    yield handle
    if handle.is_ours and not was_up:
        install.harness("down")


@pytest.fixture(scope="session")
def images(cluster: ClusterHandle) -> install.Images:
    return install.images(cluster)


@pytest.fixture(scope="session")
def operator_image(images: install.Images) -> str:
    return images.operator


@pytest.fixture(scope="session")
def system(cluster: ClusterHandle, images: install.Images) -> Kubectl:
    """kubectl in the operator's namespace, with the operator running."""
    return install.operator(cluster, images)


@pytest.fixture(scope="session")
def kubectl(system: Kubectl) -> Iterator[Kubectl]:
    """kubectl in the tests' namespace, which is new."""
    system.run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)
    yield install.namespace(system, NAMESPACE)
    system.run("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="session")
def proxy(kubectl: Kubectl) -> Iterator[str]:
    """URL of a `kubectl proxy`."""
    with kubectl_proxy(kubectl.kubeconfig) as url:
        yield url


@pytest.fixture
def serving(kubectl: Kubectl) -> str:
    """Name of an LLMDeployment of the built-in model that is Ready."""
    kubectl.apply(tiny(NAME))
    eventually(
        "the built-in model is served",
        lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"),
        timeout=180,
    )
    return NAME


@pytest.fixture
def fake_gpus(cluster: ClusterHandle) -> Iterator[None]:
    """30 nodes of 8 GPUs that are not there."""
    with fake_nodes(cluster, 30, FakeGpus("NVIDIA-H200", 143771)):
        yield


@pytest.fixture(autouse=True)
def why(request: pytest.FixtureRequest) -> Iterator[None]:
    """Prints what the cluster says when a test failed."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed == failed_before or "kubectl" not in request.fixturenames:
        return
    kubectl: Kubectl = request.getfixturevalue("kubectl")
    system: Kubectl = request.getfixturevalue("system")
    for what, done in (
        ("resources", kubectl.run("get", "llm,deploy,pods", "-o", "wide", check=False)),
        ("events", kubectl.run("get", "events", "--sort-by=.lastTimestamp", check=False)),
        ("operator", system.run("logs", "deployment/plimsoll-operator", "--tail=60", check=False)),
    ):
        print(f"--- {what}\n{done.stdout[-6000:]}")
    for item in kubectl.list("llmdeployments")[:3]:
        for kind in ("Ready", "Stalled", "SLOFeasible", "AutoscalingActive"):
            print(item["metadata"]["name"], condition(item, kind))
