"""Every namespace's engines are told whom to let in, and told again only when that changes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from plimsoll_operator.engines.admin_access import AdminAccess
from plimsoll_operator.engines.engine_token import EngineToken, identity_of
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import RESOURCE
from plimsoll_operator.kube.store import Store
from plimsoll_operator.render.admin_trust import Identity
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.samples import raw_resource
from tests.unit.plimsoll_operator.tokens import (
    ISSUER,
    KEYS,
    OPERATOR,
    TOKEN,
    encoded,
    token_file,
)


class Cluster(MemoryCluster):
    """One that also publishes keys, or refuses to."""

    keys: Any = KEYS

    async def token_keys(self) -> tuple[dict[str, Any], ...]:
        if isinstance(self.keys, Exception):
            raise self.keys
        return tuple(self.keys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return token_file(tmp_path)


def access(cluster: Cluster, file: Path, *namespaces: str) -> AdminAccess:
    store = Store()
    for number, namespace in enumerate(namespaces):
        metadata = {"namespace": namespace, "uid": str(number), "resourceVersion": "1"}
        store.put(RESOURCE.name, raw_resource(metadata=metadata))
    return AdminAccess(store, cluster, EngineToken(file))  # type: ignore[arg-type]


def trust(cluster: Cluster, namespace: str) -> dict[str, Any]:
    return dict(
        json.loads(cluster.objects["ConfigMap", namespace, "plimsoll-admin"]["data"]["trust.json"])
    )


async def test_each_namespace_is_told_once(file: Path) -> None:
    cluster = Cluster()
    teller = access(cluster, file, "ml", "other")
    await teller.tell()
    await teller.tell()
    assert [name for _, _, name in cluster.writes] == ["plimsoll-admin"] * 2
    assert trust(cluster, "ml") == trust(cluster, "other")
    assert trust(cluster, "ml") == {
        "issuer": ISSUER,
        "audience": "plimsoll.dev/engine",
        "subject": OPERATOR,
        "keys": sorted(KEYS, key=lambda key: key["kid"]),
    }
    # The next process finds it right, whatever order keys come in.
    cluster.keys = KEYS[::-1]
    await access(cluster, file, "ml", "other").tell()
    assert len(cluster.writes) == 2
    cluster.keys = [*KEYS, {"kty": "RSA", "kid": "c", "n": "z"}]
    await access(cluster, file, "ml", "other").tell()
    assert len(cluster.writes) == 4
    assert len(trust(cluster, "ml")["keys"]) == 3


async def test_one_namespace_that_refuses_keeps_none_from_the_others(file: Path) -> None:
    cluster = Cluster()
    refusals = iter([ClusterError(403, "Forbidden", "being terminated")])

    def admit(verb: str, kind: str, name: str) -> None:
        for refusal in refusals:
            raise refusal

    cluster.admit = admit
    teller = access(cluster, file, "going", "ml")
    with pytest.raises(ClusterError, match="being terminated"):
        await teller.tell()
    assert trust(cluster, "ml")
    await teller.tell()
    assert trust(cluster, "going")
    assert len(cluster.writes) == 2


async def test_keys_that_cannot_be_read_leave_what_was_told(file: Path) -> None:
    cluster = Cluster()
    await access(cluster, file, "ml").tell()
    cluster.keys = ClusterError(503, "", "not now")
    with pytest.raises(ClusterError):
        await access(cluster, file, "ml").tell()
    assert len(trust(cluster, "ml")["keys"]) == 2


async def test_without_a_token_nobody_is_told_anything(tmp_path: Path) -> None:
    cluster = Cluster()
    await access(cluster, tmp_path / "none", "ml").tell()
    assert cluster.writes == []


async def test_a_new_namespace_is_told_at_once(file: Path) -> None:
    cluster = Cluster()
    teller = access(cluster, file, "ml")
    task = asyncio.create_task(teller.run())
    async with asyncio.timeout(5):
        while not cluster.writes:
            await asyncio.sleep(0.001)
        metadata = {"namespace": "new", "uid": "new", "resourceVersion": "1"}
        teller._store.put(RESOURCE.name, raw_resource(metadata=metadata))
        teller.see("ml", gone=False)
        teller.see("new", gone=False)
        while len(cluster.writes) < 2:
            await asyncio.sleep(0.001)
        assert trust(cluster, "new") == trust(cluster, "ml")
        # A namespace that is deleted and made again has lost it.
        del cluster.objects["ConfigMap", "new", "plimsoll-admin"]
        teller.see("new", gone=True)
        teller.see("new", gone=False)
        while len(cluster.writes) < 3:
            await asyncio.sleep(0.001)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c", f"a.{encoded([])}.c", f"a.{encoded({'iss': ISSUER})}.c", "a.ä.c"]
)
def test_no_token_of_ours(token: str) -> None:
    assert identity_of(token) is None
    assert identity_of(TOKEN) == Identity(ISSUER, OPERATOR)
