"""The store keeps little of a pod, and a change of the rest is no news."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.gather import api_addresses, ready_replicas
from plimsoll_operator.kube.pruning import prune
from plimsoll_operator.kube.store import Store
from tests.unit.plimsoll_operator.pods import crashing, pulling, serving, unschedulable

KEY = ("ml", "chat")


@pytest.mark.parametrize(
    "pod", [serving(), pulling(), unschedulable(), crashing("waiting")], ids=lambda _: ""
)
def test_a_pod_takes_little_room(pod: dict[str, Any]) -> None:
    kept = prune("Pod", pod)
    assert "spec" not in kept
    assert "managedFields" not in kept["metadata"]
    assert len(json.dumps(kept)) < 1200


def news(store: Store, pod: dict[str, Any], version: int, **metadata: Any) -> bool:
    changed = copy.deepcopy(pod)
    changed["metadata"].update(resourceVersion=str(version), **metadata)
    return store.put("Pod", changed)


def test_only_what_is_read_is_news() -> None:
    store = Store()
    assert news(store, crashing("waiting", restarts=3), 1)
    assert not news(store, crashing("waiting", restarts=3), 2, annotations={"seen": "yes"})
    assert news(store, crashing("running", restarts=4), 3)
    assert not news(store, crashing("running", restarts=2), 4)
    # What came last is what the next version is compared with, and what a list finds.
    (kept,) = store.of_instance("Pod", KEY)
    assert kept["metadata"]["resourceVersion"] == "4"
    assert not news(store, crashing("waiting"), 3)
    assert news(store, serving(), 5)
    assert news(store, serving(), 6, deletionTimestamp="2026-01-01T00:00:00Z")


def test_a_label_that_moves_a_pod_is_news() -> None:
    store = Store()
    pod = serving()
    news(store, pod, 1)
    labels = {**pod["metadata"]["labels"], "app.kubernetes.io/instance": "other"}
    assert news(store, pod, 2, labels=labels)
    assert store.of_instance("Pod", KEY) == ()
    assert len(store.of_instance("Pod", ("ml", "other"))) == 1


def test_pods_are_scraped_by_what_their_engines_speak() -> None:
    store = Store()
    plain, secure = serving("a"), serving("b")
    for pod, name, beside in ((plain, "http", "https"), (secure, "https", "http")):
        pod["status"]["podIP"] = "10.0.0.1"
        engine = {"name": "engine", "ports": [{"name": name, "containerPort": 8000}]}
        sidecar = {"name": "proxy", "ports": [{"name": beside, "containerPort": 8443}]}
        pod["spec"]["containers"] = [sidecar, engine]
        store.put("Pod", pod)
    assert ready_replicas(store, KEY) == (("a", "10.0.0.1"), ("b", "10.0.0.1"))
    assert api_addresses(store, KEY) == (("a", "10.0.0.1"), ("b", "https://10.0.0.1"))


def test_of_restarts_it_is_news_that_they_are_many() -> None:
    store = Store()
    assert news(store, crashing("running", restarts=4), 1)
    assert news(store, crashing("running", restarts=5), 2)
    assert not news(store, crashing("running", restarts=6), 3)


def test_short_texts_are_shared_between_objects() -> None:
    text = json.dumps({"metadata": {"name": "a"}, "spec": {"ports": [{"name": "http"}]}})
    one, other = (prune("Service", json.loads(text)) for _ in range(2))
    assert one == other == json.loads(text)
    names = [next(iter(item["spec"]["ports"][0].items())) for item in (one, other)]
    assert names[0][0] is names[1][0]
    assert names[0][1] is names[1][1]


@pytest.mark.parametrize("kind", ["Node", "Pod", "Service", "ControllerRevision"])
def test_pruning_again_changes_nothing(kind: str) -> None:
    pod = serving()
    pod["spec"]["containers"] = [{"name": "engine", "ports": [{"name": "https"}]}]
    item = {"Node": node("a"), "Pod": pod}.get(kind, {"metadata": {"name": "a"}, "spec": {}})
    once = prune(kind, item)
    assert prune(kind, once) == once


def node(name: str, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": name, "labels": {}, "annotations": annotations},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "192", "memory": "2Ti"}},
    }


def test_of_annotations_of_nodes_only_the_price_is_kept() -> None:
    kept = prune("Node", node("a", **{"plimsoll.dev/price-per-hour": "2", "csi": "x" * 1000}))
    assert kept["metadata"]["annotations"] == {"plimsoll.dev/price-per-hour": "2"}
    assert "annotations" not in prune("Node", node("a", csi="x" * 1000))["metadata"]


def test_what_kubectl_notes_for_itself_is_not_kept() -> None:
    noted = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"}
    item = {"metadata": {"name": "a", "annotations": noted}, "spec": {}}
    assert prune("LLMDeployment", item)["metadata"]["annotations"] == {"team": "a"}
    assert len(noted) == 2


def test_equal_parts_of_neighbours_are_one() -> None:
    one = prune("Node", node("a"))
    other = prune("Node", node("b"), one)
    assert other == prune("Node", node("b"))
    assert other["status"] is one["status"]
    assert other["spec"] is one["spec"]
    assert other["metadata"] is not one["metadata"]


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(0, 2),
        st.floats(0, 2),
        st.sampled_from(["", "x" * 65]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
)


@given(VALUES, VALUES)
def test_sharing_changes_no_value(value: Any, like: Any) -> None:
    def typed(part: Any) -> str:
        return json.dumps(part, sort_keys=True)  # where true is not 1, nor 1.0

    neighbour = prune("Service", {"metadata": {}, "spec": like})
    kept = prune("Service", {"metadata": {}, "spec": value}, neighbour)
    assert typed(kept["spec"]) == typed(value)
    assert typed(neighbour["spec"]) == typed(like)
