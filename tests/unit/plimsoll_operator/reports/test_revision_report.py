"""What `plimsoll explain` prints is planned again from the record, and says where it differs."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from plimsoll_operator.commands import explain, named_resource
from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from plimsoll_operator.reports.revision_report import revision_report
from plimsoll_operator.resource import Resource, parse_resource
from plimsoll_operator.revisions.kept_plan import kept_plans
from plimsoll_operator.revisions.record import RecordError
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import Start, edit, fresh


@pytest.fixture
async def cluster(start: Start) -> MemoryCluster:
    """Two plans were in force: the first, and one with other limits."""
    found = fresh()
    process = start(found)
    await process.settle()
    edit(found, pin={"maxNumSeqs": 4})
    await process.settle()
    return found


def resource(cluster: MemoryCluster) -> Resource:
    return parse_resource(cluster.objects[RESOURCE.name, "ml", "chat"])


def items(cluster: MemoryCluster) -> list[dict[str, Any]]:
    return [copy.deepcopy(item) for key, item in cluster.objects.items() if key[0] == REVISION.name]


def report(cluster: MemoryCluster, found: list[dict[str, Any]], number: int = -1) -> str:
    history = kept_plans(found, resource(cluster))
    before = history[number - 1] if history[number].number > 1 else None
    return revision_report(resource(cluster), history[number], before, "9.9")


async def test_the_plan_in_force_is_explained(cluster: MemoryCluster) -> None:
    text = report(cluster, items(cluster))
    for part in (
        "ml/chat   ",
        "revision    2, chat-",
        "made for generation 2, in force",
        "declared",
        "the same answer",
        "planned again by 9.9",
        "this is the plan",
        "since       1, chat-",
        "pin.maxNumSeqs",
        "→ 4",
        "drift       not measured yet",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


async def test_an_earlier_plan_is_explained(cluster: MemoryCluster) -> None:
    text = report(cluster, items(cluster), 0)
    assert "revision    1, chat-" in text
    assert f"in force is {resource(cluster).status.current_revision}" in " ".join(text.split())
    assert "no earlier revision is kept" in text


async def test_another_answer_is_said_field_by_field(cluster: MemoryCluster) -> None:
    found = items(cluster)
    found[1]["data"]["plan"]["maxNumBatchedTokens"] = 77
    found[1]["data"]["inputs"]["recordedLater"] = True
    text = report(cluster, found)
    assert "another answer today" in text
    assert "its nodes may be others" in text
    again = text[text.index("another answer") : text.index("inputs")]
    (line,) = (line for line in again.splitlines() if "maxNumBatchedTokens" in line)
    assert line.split()[1:3] == ["77", "→"]


async def test_what_engines_have_measured_is_told(cluster: MemoryCluster) -> None:
    used = {
        "accelerator": "cpu",
        "model": "builtin://tiny",
        "stepOverhead": "5ms",
        "error": "0.04",
        "samples": 900,
        "measuredAt": "2026-01-31T12:00:00Z",
    }
    found = items(cluster)
    found[1]["data"]["inputs"]["measured"] = [used]
    raw = cluster.objects[RESOURCE.name, "ml", "chat"]
    seconds = {"promptToken": "0ms", "message": "0.3ms", "event": "0.1ms", "token": "0ms"}
    frontend = {"request": "1.6ms", **seconds, "error": "0.1", "stretches": 90}
    newer = {**used, "samples": 950, "error": "0.02", "frontend": frontend}
    cluster.objects[RESOURCE.name, "ml", "chat"] = {
        **raw,
        "status": {**raw["status"], "calibration": newer},
    }
    text = " ".join(report(cluster, found).split())
    assert "calibrated by 900 steps measured on cpu" in text
    assert "off by 4.0%: used" in text
    assert "by 950 steps" in text
    assert "off by 2.0%, 1.6ms a request outside of steps: the next plan will use it" in text
    # What was recorded is planned with it again, and that is slower than what is kept.
    assert "another answer today" in text
    assert "calibrated" not in report(cluster, found, 0)


def without_plan(data: Any) -> None:
    data.pop("plan")


def with_foreign_plan(data: Any) -> None:
    data["plan"]["unheardOf"] = 1


@pytest.mark.parametrize("damage", [without_plan, with_foreign_plan])
async def test_what_holds_no_plan_is_named(cluster: MemoryCluster, damage: Any) -> None:
    found = items(cluster)
    damage(found[0]["data"])
    with pytest.raises(RecordError, match=found[0]["metadata"]["name"]):
        report(cluster, found, 0)
    # The plan in force can be explained all the same.
    text = report(cluster, found)
    assert "this is the plan" in text
    assert f"{found[0]['metadata']['name']} holds no plan" in " ".join(text.split())


async def test_what_cannot_be_planned_again_is_shown_as_it_was(cluster: MemoryCluster) -> None:
    found = items(cluster)
    del found[1]["data"]["inputs"]["model"]["config"]
    text = report(cluster, found)
    assert "cannot be planned again: config.json of builtin://tiny" in text
    assert "predicted" in text
    assert "pin.maxNumSeqs" in text


class Connected:
    """Stands in for the client: the command asks the cluster in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def connect(self, workers: int, context: str | None) -> "Connected":
        return self

    def default_namespace(self, context: str | None) -> str:
        return "ml"

    async def close(self) -> None:
        pass

    async def get(self, *where: Any) -> Mapping[str, Any] | None:
        return await self._cluster.get(*where)

    async def list(self, *where: Any) -> tuple[list[dict[str, Any]], str]:
        return await self._cluster.list(*where)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["chat"], 0, "in force"),
        (["chat", "--revision", "1"], 0, "no earlier revision"),
        (["chat", "--revision", "1", "--since", "2"], 0, "since       2, chat-"),
        (["chat", "--revision", "7"], 2, "there are: 1, 2"),
        (["chat", "--since", "7"], 2, "there are: 1, 2"),
        (["other", "-n", "elsewhere"], 2, "no LLMDeployment other in namespace elsewhere"),
    ],
)
def test_the_command(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cluster: MemoryCluster,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(named_resource, "Cluster", Connected(cluster))
    assert explain.main(arguments) == code
    out, err = capsys.readouterr()
    assert said in (err if code else out)
