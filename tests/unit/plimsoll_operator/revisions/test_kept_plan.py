"""A kept plan is read as the LLMDeployment of its day, so that commands take it as one."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from plimsoll_operator.commands.plan import main
from plimsoll_operator.kube.kinds import REVISION
from plimsoll_operator.revisions.kept_plan import as_deployment
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import Start, edit, fresh


@pytest.fixture
async def kept(start: Start) -> list[dict[str, Any]]:
    """Two plans, oldest first: the second of an edit to 8 sequences."""
    cluster: MemoryCluster = fresh()
    process = start(cluster)
    await process.settle()
    edit(cluster, pin={"maxNumSeqs": 8})
    await process.settle()
    found = [item for key, item in cluster.objects.items() if key[0] == REVISION.name]
    return sorted(found, key=lambda item: int(item["revision"]))


def diff(
    folder: Path, capsys: pytest.CaptureFixture[str], old: object, new: object
) -> dict[str, Any]:
    for name, content in (("old", old), ("new", new)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (folder / "nodes.yaml").write_text("[{accelerator: cpu, count: 4, nodes: 1, memory: 16Gi}]")
    paths = [str(folder / name) for name in ("old.yaml", "new.yaml", "nodes.yaml")]
    assert (
        main(["--diff", *paths[:2], "--inventory", paths[2], "--requests", "0", "-o", "json"]) == 0
    )
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_two_revisions_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: list[dict[str, Any]]
) -> None:
    change = diff(tmp_path, capsys, *kept)
    assert (change["name"], change["change"]) == ("ml/chat", "changed")
    assert {"field": "pin.maxNumSeqs", "old": None, "new": "8"} in change["spec"]
    seqs = next(item for item in change["plan"] if item["field"] == "maxNumSeqs")
    assert seqs["new"] == "8"
    assert not change["rollout"]["restarts"]
    assert "take the new limits" in change["rollout"]["text"]


def test_a_revision_and_a_file_of_the_same_are_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: list[dict[str, Any]]
) -> None:
    deployment = as_deployment(kept[1])
    assert deployment is not None
    del deployment["status"]
    listed = {"apiVersion": "v1", "kind": "List", "items": [kept[1]]}
    assert diff(tmp_path, capsys, listed, deployment)["change"] == "unchanged"


def test_revisions_of_others_are_left_alone(kept: list[dict[str, Any]]) -> None:
    foreign = copy.deepcopy(kept[0])
    foreign["metadata"]["ownerReferences"][0]["kind"] = "StatefulSet"
    assert as_deployment(foreign) is None
    assert as_deployment({"metadata": {}, "data": {}}) is None
    assert as_deployment({**kept[0], "data": "not ours"}) is None


def test_what_misses_its_promise_does_not_count_as_kept(kept: list[dict[str, Any]]) -> None:
    kept[0]["data"]["inputs"]["spec"].setdefault("slo", {})["whenInfeasible"] = "BestEffort"
    both = [as_deployment(item) for item in kept]
    assert [item and item["status"].get("planFeasible") for item in both] == [None, True]
