"""A broken edit goes back by itself while traffic goes on; rollouts are undone, paused, resumed."""

import os
import subprocess
import sys
from pathlib import Path

from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of, tiny
from e2e.support.traffic import Traffic, service_url

NAME = "rolled"
FACTS = "rolled-facts"
DEADLINE_SECONDS = 10
CONFIG = Path(__file__).parents[2] / "runtime" / "plimsoll_runtime" / "builtin" / "tiny"
BROKEN = {
    "source": "pvc://nowhere/model",
    "configFrom": {"configMapKeyRef": {"name": FACTS}},
}


def resource(kubectl: Kubectl) -> Object:
    found = kubectl.get("llmdeployment", NAME)
    assert found is not None
    return found


def pods(kubectl: Kubectl) -> set[str]:
    return {pod["metadata"]["name"] for pod in kubectl.list("pods", pods_of(NAME))}


def told(kubectl: Kubectl, kind: str, reason: str) -> Object | None:
    """The condition, once it says this of the newest generation."""
    found = condition(now := resource(kubectl), kind)
    seen = found and found["observedGeneration"] == now["metadata"]["generation"]
    return found if found and seen and found["reason"] == reason else None


def rollout(kubectl: Kubectl, *arguments: str) -> str:
    """What the plug-in of kubectl prints."""
    installed = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["kubectl", "plimsoll", "rollout", *arguments, "-n", kubectl.namespace],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "KUBECONFIG": kubectl.kubeconfig, "PATH": installed},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_broken_edit_goes_back_by_itself(kubectl: Kubectl, proxy: str) -> None:
    facts = {"config.json": (CONFIG / "config.json").read_text("utf-8")}
    metadata = {"name": FACTS}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": facts},
        tiny(NAME),
    )
    eventually("it serves", lambda: is_true(resource(kubectl), "Ready"), timeout=180)
    first, served = resource(kubectl), pods(kubectl)

    with Traffic(service_url(proxy, kubectl.namespace, NAME), NAME) as traffic:
        # The engine itself may take longer to start.
        deadline = {"progressDeadlineSeconds": DEADLINE_SECONDS}
        kubectl.merge("llmdeployment", NAME, {"spec": {"model": BROKEN, "rollout": deadline}})
        stalled = eventually("it is rolled back", lambda: told(kubectl, "Stalled", "RolledBack"))
        print(stalled["message"])
        assert 'persistentvolumeclaim "nowhere" not found' in stalled["message"]
        eventually("only what served is there", lambda: pods(kubectl) == served)
        back = resource(kubectl)
        assert back["status"]["currentRevision"] == first["status"]["currentRevision"]
        failed = back["status"]["rollback"]["failedRevision"]

        history = rollout(kubectl, "history", NAME)
        print(history)
        assert "did not serve, rolled back" in history
        assert "pvc://nowhere/model" in history

        trial = rollout(kubectl, "undo", NAME, "--dry-run")
        assert "dry run: nothing was changed" in trial
        assert resource(kubectl)["metadata"]["generation"] == back["metadata"]["generation"]
        print(rollout(kubectl, "undo", NAME))
        eventually("the spec is what serves", lambda: is_true(resource(kubectl), "Ready"))
        undone = resource(kubectl)
        assert undone["spec"] == {**first["spec"], "rollout": undone["spec"]["rollout"]}
        assert "rollback" not in undone["status"]
        assert pods(kubectl) == served

        rollout(kubectl, "pause", NAME)
        shorter = {
            "model": {"maxContextLength": 1024},
            "rollout": {"progressDeadlineSeconds": None},
        }
        kubectl.merge("llmdeployment", NAME, {"spec": shorter})
        waiting = eventually("the edit waits", lambda: told(kubectl, "Ready", "Paused"))
        print(waiting["message"])
        assert pods(kubectl) == served
        rollout(kubectl, "resume", NAME)
        eventually("the edit serves", lambda: is_true(resource(kubectl), "Ready"))
        assert resource(kubectl)["status"]["plan"]["maxModelLen"] == 1024
    print(f"{len(traffic.answers)} requests")
    assert traffic.failures == []
    assert len(traffic.answers) > 20
    assert failed != resource(kubectl)["status"]["currentRevision"]
    kubectl.run("delete", "llmdeployment", NAME)
