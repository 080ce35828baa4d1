"""`plimsoll rollout` against a cluster in memory: history, undo, pause and resume."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.commands import named_resource, rollout
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from plimsoll_operator.revisions.gitops import managed_by
from plimsoll_operator.revisions.undo import merge_patch
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster, _patched
from tests.unit.plimsoll_operator.process import EASY, Start, edit, fresh

Run = Callable[..., tuple[int, str, str]]


def defaulted(spec: dict[str, Any]) -> dict[str, Any]:
    """As the API server stores it, which fills in no empty lists."""
    stored = parse_spec(spec).model_dump(mode="json", by_alias=True, exclude_none=True)
    del stored["scaling"]["schedules"], stored["accelerators"]["allow"]
    return stored


@pytest.fixture
async def cluster(start: Start) -> MemoryCluster:
    """Three plans were in force, the last with a shorter context."""
    found = fresh(defaulted(EASY))
    process = start(found)
    await process.settle()
    for pin in ({"maxNumSeqs": 4}, {"maxNumSeqs": 4, "maxNumBatchedTokens": 64}):
        edit(found, pin=pin, access={})
        await process.settle()
    return found


class Connected:
    """Stands in for the client's class: the command asks the cluster in memory."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def connect(self, workers: int, context: str | None) -> "Connected":
        return self

    def default_namespace(self, context: str | None) -> str:
        return "ml"

    async def close(self) -> None:
        pass


@pytest.fixture
def run(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(named_resource, "Cluster", Connected(cluster))
        code = rollout.main(list(arguments))
        return (code, *capsys.readouterr())

    return call


def chat(cluster: MemoryCluster) -> dict[str, Any]:
    return cluster.objects[RESOURCE.name, "ml", "chat"]


def test_history_says_when_by_what_plan_and_what_changed(cluster: MemoryCluster, run: Run) -> None:
    for key, item in cluster.objects.items():
        if key[0] == REVISION.name:
            item["metadata"]["creationTimestamp"] = f"2026-01-0{item['revision']}T00:00:00Z"
    code, out, err = run("history", "chat")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["ml/chat"]
    assert lines[2] == ["revision", "created", "generation", "plan"]
    assert lines[3][:3] == ["1", "2026-01-01T00:00:00Z", "1"]
    assert lines[5] == ["pin.maxNumSeqs:", "-", "→", "4"]
    assert ["3", "2026-01-03T00:00:00Z", "3"] in [line[:3] for line in lines]
    assert out.count("in force") == 1
    assert "pin.maxNumBatchedTokens: - → 64" in out


def test_history_names_what_failed_and_what_serves(cluster: MemoryCluster, run: Run) -> None:
    names = {
        item["revision"]: key[2] for key, item in cluster.objects.items() if "revision" in item
    }
    chat(cluster)["status"]["rollback"] = {
        "generation": 3,
        "specHash": "x",
        "failedRevision": names[2],
        "message": "late",
    }
    _, out, _ = run("history", "chat")
    (line,) = (line for line in out.splitlines() if line.split()[:1] == ["2"])
    assert line.endswith("did not serve, rolled back")


def test_undo_writes_the_spec_of_the_revision_before(cluster: MemoryCluster, run: Run) -> None:
    code, out, err = run("undo", "chat")
    assert (code, err) == (0, "")
    spec = chat(cluster)["spec"]
    assert spec["pin"] == {"maxNumSeqs": 4}
    # Who may call is nothing that a revision is made for.
    assert spec["access"] == {}
    assert "back to revision 2, chat-" in out
    assert "pin.maxNumBatchedTokens" in out
    assert out.endswith("done, as generation 4\n")


def test_undo_to_a_revision_by_its_number(cluster: MemoryCluster, run: Run) -> None:
    assert run("undo", "chat", "--to-revision", "1")[0] == 0
    assert chat(cluster)["spec"]["pin"] == {}
    first = {name: value for name, value in defaulted(EASY).items() if name != "access"}
    spec = {name: value for name, value in chat(cluster)["spec"].items() if name != "access"}
    assert spec == first
    code, out, _ = run("undo", "chat", "--to-revision", "1")
    assert (code, out) == (0, "ml/chat: its spec is that of revision 1 already\n")
    code, _, err = run("undo", "chat", "--to-revision", "9")
    assert code == 2
    assert "has no revision 9; there are: 1, 2, 3" in err


def test_undo_after_a_rollback_is_to_what_serves(cluster: MemoryCluster, run: Run) -> None:
    status = chat(cluster)["status"]
    status["rollback"] = {
        "generation": 4,
        "specHash": "x",
        "failedRevision": "gone",
        "message": "late",
    }
    edit(cluster, pin={"maxNumSeqs": 512})
    _, out, _ = run("undo", "chat")
    assert "back to revision 3, chat-" in out
    assert chat(cluster)["spec"]["pin"] == {"maxNumSeqs": 4, "maxNumBatchedTokens": 64}


def test_a_dry_run_changes_nothing(cluster: MemoryCluster, run: Run) -> None:
    before = chat(cluster)
    code, out, _ = run("undo", "chat", "--dry-run")
    assert code == 0
    assert "→ -" in out
    assert out.endswith("dry run: nothing was changed\n")
    assert chat(cluster) == before


def test_pause_and_resume(cluster: MemoryCluster, run: Run) -> None:
    assert run("resume", "chat")[1] == "ml/chat: rollouts are not paused already\n"
    assert run("pause", "chat")[1] == "ml/chat: rollouts are paused\n"
    assert chat(cluster)["spec"]["rollout"]["paused"] is True
    assert run("pause", "chat")[1] == "ml/chat: rollouts are paused already\n"
    assert run("resume", "chat")[1] == "ml/chat: rollouts are not paused\n"
    assert "paused" not in chat(cluster)["spec"]["rollout"]


def test_restart(cluster: MemoryCluster, run: Run) -> None:
    chat(cluster)["spec"]["template"] = {"metadata": {"annotations": {"team": "ml"}}}
    code, out, _ = run("restart", "chat")
    assert (code, out) == (0, f"ml/chat: restarts, as generation {generation(cluster)}\n")
    annotations = chat(cluster)["spec"]["template"]["metadata"]["annotations"]
    assert annotations.pop("kubectl.kubernetes.io/restartedAt").endswith("Z")
    assert annotations == {"team": "ml"}


def generation(cluster: MemoryCluster) -> int:
    return int(chat(cluster)["metadata"]["generation"])


def test_whoever_applies_it_from_a_repository_is_named(cluster: MemoryCluster, run: Run) -> None:
    chat(cluster)["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "apps"}
    code, _, err = run("pause", "chat")
    assert code == 0
    assert err.startswith("warning: Flux applies chat from a repository")
    assert run("history", "chat")[2] == ""


@pytest.mark.parametrize(
    ("metadata", "manager"),
    [
        ({}, None),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "x"}}, "Flux"),
        ({"managedFields": [{"manager": "argocd-controller"}]}, "Argo CD"),
        ({"managedFields": [{"manager": "kubectl-client-side-apply"}]}, None),
    ],
)
def test_who_else_writes_it(metadata: dict[str, Any], manager: str | None) -> None:
    assert managed_by({"metadata": metadata}) == manager


@pytest.mark.parametrize("edited", [False, True])
def test_an_edit_meanwhile_is_told_and_a_new_status_is_not(
    cluster: MemoryCluster, run: Run, edited: bool
) -> None:
    before = cluster.before_write

    def meanwhile(_: int) -> None:
        cluster.before_write = before
        if edited:
            edit(cluster, revisionHistoryLimit=3)
        else:
            cluster.put(RESOURCE.name, chat(cluster))

    cluster.before_write = meanwhile
    code, _, err = run("pause", "chat")
    assert code == (1 if edited else 0)
    assert ("chat was edited meanwhile" in err) == edited


def test_what_is_refused_or_not_there_is_said(cluster: MemoryCluster, run: Run) -> None:
    assert (
        "no LLMDeployment other in namespace elsewhere"
        in run("pause", "other", "-n", "elsewhere")[2]
    )

    def forbid(*_: str) -> None:
        raise ClusterError(403, "Forbidden", "you may not")

    cluster.admit = forbid
    code, _, err = run("undo", "chat")
    assert code == 1
    assert "you may not" in err


JSON = st.recursive(
    st.integers(0, 2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@settings(max_examples=100)
@given(OBJECTS, OBJECTS)
def test_a_merge_patch_makes_one_of_the_other(now: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert _patched(now, merge_patch(now, wanted)) == wanted
    assert merge_patch(wanted, wanted) == {}
