"""Keys from a Secret, a template laid over engine pods, and one that is refused."""

import base64

from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of, tiny

NAME = "keyed"
ASK = """
import json, sys, urllib.error, urllib.request
body = json.dumps({"model": "keyed", "prompt": "import", "max_tokens": 4}).encode()
for key in ("first-key", "other-key", None):
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        with urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers)) as answer:
            print(key, answer.status)
    except urllib.error.HTTPError as error:
        print(key, error.code)
"""


CLIENTS: Object = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "clients"},
    "data": {"keys": base64.b64encode(b"# tenants\nteam:first-key\n").decode()},
}


def template(**engine: object) -> Object:
    return {
        "metadata": {"labels": {"team": "ml"}, "annotations": {"example.com/owner": "ml"}},
        "spec": {
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "containers": [
                {"name": "engine", "env": [{"name": "TZ", "value": "UTC"}], **engine},
            ],
        },
    }


def deployed(**more: object) -> Object:
    keys = {"apiKeysFrom": {"secretKeyRef": {"name": "clients"}}}
    return tiny(NAME, authentication=keys, **more)


def pod(kubectl: Kubectl) -> Object:
    """The one engine pod that is not on its way out."""
    pods = kubectl.list("pods", pods_of(NAME))
    (found,) = (each for each in pods if "deletionTimestamp" not in each["metadata"])
    return found


def answers(kubectl: Kubectl) -> list[str]:
    """Key and status of requests from within the pod, past no proxy that takes headers away."""
    url = "http://127.0.0.1:8000/v1/completions"
    name = pod(kubectl)["metadata"]["name"]
    done = kubectl.run("exec", name, "-c", "engine", "--", "python", "-c", ASK, url)
    return done.stdout.splitlines()


def test_secrets_and_a_template_reach_the_pods(kubectl: Kubectl) -> None:
    kubectl.apply(CLIENTS, deployed(template=template()))
    eventually(
        "it serves", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"), timeout=180
    )
    found = pod(kubectl)
    assert found["metadata"]["labels"]["team"] == "ml"
    assert found["metadata"]["annotations"]["example.com/owner"] == "ml"
    assert found["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    (engine,) = found["spec"]["containers"]
    assert {"name": "TZ", "value": "UTC"} in engine["env"]
    assert answers(kubectl) == ["first-key 200", "other-key 401", "None 401"]

    # What the plan decides is refused, by name, and what serves goes on.
    kubectl.apply(deployed(template=template(args=["--dtype=float32"])))

    def stalled() -> Object | None:
        told = condition(kubectl.get("llmdeployment", NAME), "Stalled")
        return told if told and told["status"] == "True" else None

    told = eventually("the refusal", stalled)
    print(told["message"])
    assert "spec.template.spec.containers[engine].args: cannot be set" in told["message"]
    assert pod(kubectl)["metadata"]["uid"] == found["metadata"]["uid"]

    kubectl.apply(deployed())
    eventually(
        "the plain pod serves",
        lambda: (
            is_true(kubectl.get("llmdeployment", NAME), "Ready")
            and "team" not in pod(kubectl)["metadata"]["labels"]
        ),
        timeout=180,
    )
    kubectl.run("delete", "llmdeployment", NAME)
    kubectl.run("delete", "secret", "clients")
