"""Plans are kept as they were made, drift is told with what to edit, and both are explained."""

import os
import subprocess
import sys
from pathlib import Path

from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import tiny
from e2e.support.traffic import Traffic, service_url

NAME = "kept"


def revisions(kubectl: Kubectl) -> dict[str, int]:
    found = kubectl.list("controllerrevisions", f"app.kubernetes.io/instance={NAME}")
    return {item["metadata"]["name"]: item["revision"] for item in found}


def in_force(kubectl: Kubectl, number: int) -> Object | None:
    resource = kubectl.get("llmdeployment", NAME)
    if not resource or not is_true(resource, "Ready"):
        return None
    name = resource["status"].get("currentRevision")
    return resource if revisions(kubectl).get(name) == number else None


def plan_for(kubectl: Kubectl, prompt_tokens: int) -> None:
    lengths = {"mean": prompt_tokens, "p95": 300}
    kubectl.merge("llmdeployment", NAME, {"spec": {"workload": {"promptTokens": lengths}}})


def explained(kubectl: Kubectl) -> str:
    """What the plug-in of kubectl prints, as a person who has installed the package sees it."""
    installed = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["kubectl", "plimsoll", "explain", NAME, "-n", kubectl.namespace],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "KUBECONFIG": kubectl.kubeconfig, "PATH": installed},
    )
    assert not done.stderr, done.stderr
    return done.stdout


def test_kept_drifted_and_explained(kubectl: Kubectl, proxy: str) -> None:
    kubectl.apply(tiny(NAME))
    first = eventually("the first plan serves", lambda: in_force(kubectl, 1), timeout=180)
    # Prompts of 24 tokens and answers of 16 where 100 and 40 were declared.
    with Traffic(service_url(proxy, kubectl.namespace, NAME), NAME, clients=2) as traffic:
        drifted = eventually(
            "drift is told",
            lambda: (
                (found := condition(kubectl.get("llmdeployment", NAME), "PlanDrifted"))
                and found["status"] == "True"
                and found
            ),
            timeout=240,
        )
    print(f"{len(traffic.answers)} requests: {drifted['reason']}: {drifted['message']}")
    assert traffic.failures == []
    assert drifted["reason"] == "TrafficDiffers"
    assert "workload.promptTokens.mean: 24" in drifted["message"]
    assert "workload.outputTokens.mean: 16" in drifted["message"]
    resource = in_force(kubectl, 1)
    assert resource is not None
    assert resource["status"]["plan"] == first["status"]["plan"]
    assert resource["status"]["observed"]["promptTokens"] == 24

    plan_for(kubectl, 24)
    edited = eventually("the edited plan serves", lambda: in_force(kubectl, 2))
    plan_for(kubectl, 100)
    last = eventually("the first plan is in force again", lambda: in_force(kubectl, 3))
    name, other = (item["status"]["currentRevision"] for item in (last, edited))
    assert name == first["status"]["currentRevision"]
    assert revisions(kubectl) == {name: 3, other: 2}

    text = explained(kubectl)
    print(text)
    for part in (f"3, {name}", "the same answer", "declared", "this is the plan", f"2, {other}"):
        assert part in text

    kubectl.run("delete", "llmdeployment", NAME)
    eventually("its revisions are collected", lambda: not revisions(kubectl))
