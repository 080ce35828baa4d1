"""The store believes the newest version, whichever way it came."""

from typing import Any, NoReturn

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.kube.store import Store, instance_of


def item(name: str, version: int, uid: str = "u", instance: str | None = "chat") -> dict[str, Any]:
    labels = {} if instance is None else {"app.kubernetes.io/instance": instance}
    return {
        "metadata": {
            "namespace": "ml",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": labels,
            "managedFields": [{"large": True}],
        },
        "spec": {"version": version},
    }


@given(st.permutations(list(range(1, 8))))
def test_the_newest_wins_in_any_order(versions: list[int]) -> None:
    store = Store()
    for version in versions:
        store.put("Service", item("chat", version))
    found = store.get("Service", "ml", "chat")
    assert found is not None
    assert found["spec"] == {"version": 7}
    assert "managedFields" not in found["metadata"]


def test_the_same_version_is_no_news() -> None:
    store = Store()
    assert store.put("Service", item("chat", 5))
    assert not store.put("Service", item("chat", 5))
    assert not store.put("Service", item("chat", 4))


def test_a_new_object_of_the_same_name_replaces_the_old() -> None:
    store = Store()
    store.put("Service", item("chat", 9, uid="old"))
    assert store.put("Service", item("chat", 10, uid="new"))
    assert not store.remove("Service", item("chat", 11, uid="old"))
    assert store.get("Service", "ml", "chat") is not None


def test_a_late_answer_does_not_bring_back_what_is_gone() -> None:
    store = Store()
    store.put("Service", item("chat", 5))
    assert store.remove("Service", item("chat", 7))
    assert not store.put("Service", item("chat", 6))
    assert store.get("Service", "ml", "chat") is None
    assert store.of_instance("Service", ("ml", "chat")) == ()


def test_objects_are_found_by_what_they_belong_to() -> None:
    store = Store()
    store.put("Service", item("chat-metrics", 1))
    store.put("Service", item("chat", 2, uid="v"))
    store.put("Service", item("foreign", 3, uid="w", instance=None))
    names = [found["metadata"]["name"] for found in store.of_instance("Service", ("ml", "chat"))]
    assert names == ["chat", "chat-metrics"]
    store.put("Service", item("chat", 4, uid="v", instance="other"))
    names = [found["metadata"]["name"] for found in store.of_instance("Service", ("ml", "chat"))]
    assert names == ["chat-metrics"]


def test_a_list_repairs_what_the_watch_missed_but_not_what_is_newer() -> None:
    store = Store()
    store.put("Service", item("gone", 1, uid="a"))
    store.put("Service", item("stale", 2, uid="b"))
    store.put("Service", item("new", 50, uid="c"))
    changed = store.replace(
        "Service", [item("stale", 9, uid="b"), item("missed", 8, uid="d")], "10"
    )
    assert sorted(entry["metadata"]["name"] for entry in changed) == ["gone", "missed", "stale"]
    names = {entry["metadata"]["name"] for entry in store.all("Service")}
    assert names == {"stale", "new", "missed"}


def node(version: int, cpu: str, heartbeat: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "n", "uid": "n", "resourceVersion": str(version), "labels": {}},
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {
            "allocatable": {"cpu": cpu},
            "images": [{"names": ["large"]}],
            "conditions": [
                {"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat},
                {"type": "DiskPressure", "status": "False"},
            ],
        },
    }


def test_a_list_of_a_namespace_says_nothing_of_others() -> None:
    store = Store()
    store.put("Service", item("chat", 1))
    assert store.replace("Service", [], "5", "other") == []
    assert store.get("Service", "ml", "chat") is not None
    assert store.replace("Service", [], "5", "ml") != []
    assert store.get("Service", "ml", "chat") is None


def test_a_heartbeat_of_a_node_is_no_news() -> None:
    store = Store()
    assert store.put("Node", node(1, "4", "t1"))
    version = store.inventory_version
    assert not store.put("Node", node(2, "4", "t2"))
    assert store.inventory_version == version
    assert store.put("Node", node(3, "8", "t3"))
    assert store.inventory_version == version + 1
    (kept,) = store.all("Node")
    assert "images" not in kept["status"]
    assert kept["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


def test_instance_of() -> None:
    assert instance_of(item("a", 1)) == "chat"
    assert instance_of(item("a", 1, instance=None)) is None
    assert instance_of({"metadata": {}}) is None


def raw(name: str, version: int, model: str | None = None) -> dict[str, Any]:
    status = {} if model is None else {"calibration": {"model": model, "samples": version}}
    metadata = {"namespace": "ml", "name": name, "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"model": {"source": "builtin://tiny"}}, "status": status}


def test_a_resource_is_parsed_once_a_version() -> None:
    store = Store()
    assert store.resource(("ml", "chat")) is None
    store.put(RESOURCE.name, raw("chat", 1))
    first = store.resource(("ml", "chat"))
    assert first is not None
    assert store.resource(("ml", "chat")) is first
    store.put(RESOURCE.name, raw("chat", 2))
    assert store.resource(("ml", "chat")) is not first
    second = store.resource(("ml", "chat"))
    assert second is not None
    assert second.spec is first.spec  # of which nothing has changed
    edited = raw("chat", 3)
    edited["spec"]["replicas"] = 2
    store.put(RESOURCE.name, edited)
    third = store.resource(("ml", "chat"))
    assert third is not None
    assert third.spec is not None
    assert third.spec.replicas == 2
    store.remove(RESOURCE.name, raw("chat", 4))
    assert store.resource(("ml", "chat")) is None


def test_calibrations_are_found_by_their_model() -> None:
    store = Store()

    def samples(model: str) -> list[int]:
        return [item["samples"] for item in store.calibrations(model)]

    store.put(RESOURCE.name, raw("b", 1, "llama"))
    store.put(RESOURCE.name, raw("a", 2, "llama"))
    store.put(RESOURCE.name, raw("c", 3))
    assert samples("llama") == [2, 1]
    store.put(RESOURCE.name, raw("a", 4, "qwen"))
    assert (samples("llama"), samples("qwen")) == ([1], [4])
    store.put(RESOURCE.name, raw("b", 5))
    store.remove(RESOURCE.name, raw("a", 6, "qwen"))
    assert (samples("llama"), samples("qwen")) == ([], [])
    assert store._calibrated == store._calibrates == {}


def test_a_change_looks_at_no_other_model() -> None:
    class Counted(dict[str, Any]):
        def values(self) -> NoReturn:
            raise AssertionError("a loop over all models")

    store = Store()
    store._calibrated = Counted()
    for number in range(3):
        store.put(RESOURCE.name, raw(f"a{number}", number + 1, f"model-{number}"))
    store.put(RESOURCE.name, raw("a1", 9, "model-2"))
    assert len(store.calibrations("model-2")) == 2
