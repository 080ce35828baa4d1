"""Plans are kept as made, drift is told, steps are fitted for the next plan, all is explained."""

import os
import subprocess
import sys
from pathlib import Path

from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import tiny
from e2e.support.traffic import Arrival, Traffic, replay, service_url

NAME = "kept"
# From few sequences to many at once, with short and with long prompts: steps of every kind, and
# most of them long enough that a pause of the pod's half core is not most of them.
VARIED = [
    Arrival(at=burst * 2.0, prompt_tokens=(20, 400, 120)[(burst + i) % 3], output_tokens=60)
    for burst in range(12)
    for i in range(4 + burst * 4)
]


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


def calibration(kubectl: Kubectl) -> Object | None:
    found: Object | None = (kubectl.get("llmdeployment", NAME) or {})["status"].get("calibration")
    return found


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


def test_kept_drifted_measured_and_explained(kubectl: Kubectl, proxy: str) -> None:
    kubectl.apply(tiny(NAME))
    first = eventually("the first plan serves", lambda: in_force(kubectl, 1), timeout=180)
    plan_for(kubectl, 24)
    edited = eventually("the edited plan serves", lambda: in_force(kubectl, 2))
    plan_for(kubectl, 100)
    last = eventually("the first plan is in force again", lambda: in_force(kubectl, 3))
    name, other = (item["status"]["currentRevision"] for item in (last, edited))
    assert name == first["status"]["currentRevision"]
    assert revisions(kubectl) == {name: 3, other: 2}

    # Prompts of 24 tokens and answers of 16 where 100 and 40 were declared.
    url = service_url(proxy, kubectl.namespace, NAME)
    with Traffic(url, NAME, clients=2) as traffic:
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
    resource = in_force(kubectl, 3)
    assert resource is not None
    assert resource["status"]["plan"] == first["status"]["plan"]
    assert resource["status"]["observed"]["promptTokens"] == 24

    text = explained(kubectl)
    print(text)
    for part in (f"3, {name}", "the same answer", "declared", "this is the plan", f"2, {other}"):
        assert part in text

    answers = replay(url, NAME, VARIED)
    assert [answer.error for answer in answers if answer.error] == []
    measured = eventually("its steps are fitted", lambda: calibration(kubectl), timeout=200)
    print(f"measured: {measured}")
    assert measured["accelerator"] == "cpu"
    plan_for(kubectl, 50)
    eventually("a plan made with it serves", lambda: in_force(kubectl, 4))
    text = explained(kubectl)
    print(text)
    assert f"calibrated  by {measured['samples']} steps" in text
    assert "the same answer" in text

    kubectl.run("delete", "llmdeployment", NAME)
    eventually("its revisions are collected", lambda: not revisions(kubectl))
