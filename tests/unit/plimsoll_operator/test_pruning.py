"""The store keeps little of a pod, and a change of the rest is no news."""

import copy
import json
from typing import Any

import pytest

from plimsoll_operator.gather import api_addresses, ready_replicas
from plimsoll_operator.pruning import prune
from plimsoll_operator.store import Store
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
