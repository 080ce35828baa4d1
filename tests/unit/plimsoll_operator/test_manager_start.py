"""An API server that is down when the operator starts is waited for; a missing CRD is not."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from plimsoll_operator import manager as module
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import POD, RESOURCE, Kind
from plimsoll_operator.manager import NO_CRD, Manager
from plimsoll_operator.render.labels import INSTANCE_LABEL
from plimsoll_operator.settings import Settings
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import EASY, KEY, fresh
from tests.unit.plimsoll_operator.samples import IMAGE, raw_resource


class Unwell(MemoryCluster):
    """Refuses to list some kinds at first: by kind, the answers to come."""

    def __init__(self, objects: Mapping[Any, Any], answers: dict[str, list[int]]) -> None:
        super().__init__()
        self.objects.update(objects)
        self.answers = answers
        self.closed = False

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        kept: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> tuple[list[dict[str, Any]], str]:
        if self.answers.get(kind.name):
            raise ClusterError(self.answers[kind.name].pop(0), "", "not now")
        return await super().list(kind, namespace, kept)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIST_AGAIN_SECONDS", 0.001)


def manager_of(cluster: MemoryCluster, namespaces: tuple[str, ...] = ()) -> Manager:
    settings = Settings(
        rendering=IMAGE, namespaces=namespaces, http_port=0, workers=1, trial_requests=0
    )
    return Manager(settings, cluster)  # type: ignore[arg-type]


async def test_a_start_waits_for_the_api_server(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Unwell(fresh().objects, {"Pod": [503, 0, 429], RESOURCE.name: [500]})
    manager = manager_of(cluster)
    await manager.start()
    try:
        assert not any(cluster.answers.values())
        assert manager._store.resource_keys() == [KEY]
        told = [record.message for record in caplog.records]
        assert told.count("cannot begin yet") == 4
    finally:
        await manager.stop()
    assert cluster.closed


async def test_each_of_several_namespaces_is_served() -> None:
    cluster = Unwell(fresh().objects, {})
    cluster.put(RESOURCE.name, raw_resource(spec=EASY, metadata={"namespace": "apps"}))
    manager = manager_of(cluster, ("apps", "ml", "empty"))
    await manager.start()
    assert manager._store.resource_keys() == [("apps", "chat"), KEY]
    await manager.stop()


@pytest.mark.parametrize(
    ("kind", "status", "why"), [(RESOURCE.name, 404, NO_CRD), ("Pod", 403, "not now")]
)
async def test_a_start_ends_where_time_mends_nothing(kind: str, status: int, why: str) -> None:
    manager = manager_of(Unwell(fresh().objects, {kind: [status]}))
    with pytest.raises(ClusterError, match=why[:20]):
        await manager.start()
    await manager.stop()


async def test_what_goes_between_our_list_and_the_watchs_is_noticed() -> None:
    """The watch begins with a list that lacks it, and no event tells of it."""
    cluster = Unwell(fresh().objects, {})
    manager = manager_of(cluster)
    await manager.start()
    try:
        known = list(manager._store.all(RESOURCE.name))
        assert known
        changed = manager.listed(RESOURCE, [], "999999999", None)
        assert changed == known
        assert manager._store.resource_keys() == []
    finally:
        await manager.stop()


async def test_a_child_that_a_list_lacks_wakes_its_resource(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Unwell(fresh().objects, {})
    manager = manager_of(cluster)
    await manager.start()
    try:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "a",
                "namespace": KEY[0],
                "uid": "p",
                "resourceVersion": "7",
                "labels": {INSTANCE_LABEL: KEY[1]},
            },
        }
        woken: list[Any] = []
        monkeypatch.setattr(manager, "_wake", woken.append)
        assert manager.listed(POD, [pod], "7", KEY[0])
        assert not manager.listed(POD, [], "6", KEY[0])  # an older list undoes nothing
        assert not manager.listed(POD, [], "8", "elsewhere")
        assert woken == [KEY]
        assert manager.listed(POD, [], "8", KEY[0])
        assert woken == [KEY, KEY]
    finally:
        await manager.stop()


async def test_an_edit_that_nobody_has_looked_at_goes_first() -> None:
    cluster = MemoryCluster()
    for name, seen in (("known", 1), ("serving", 1), ("edited", 0), ("new", None)):
        status = {} if seen is None else {"observedGeneration": seen}
        raw = raw_resource(spec=EASY, metadata={"name": name})
        cluster.put(RESOURCE.name, {**raw, "status": status})
    manager = manager_of(cluster)
    items, version = await cluster.list(RESOURCE)
    manager.listed(RESOURCE, items, version, None)
    for name in ("known", "serving", "edited", "new"):
        manager._wake((KEY[0], name))
    queue = manager._controller.queue
    order = [(await queue.get())[1] for _ in range(4)]
    assert order == ["edited", "new", "known", "serving"]
