"""A model of the Hub comes before its engine starts, over connections that break off."""

from pathlib import Path

from e2e.support import fake_hub
from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of, script_pod, tiny
from e2e.support.traffic import client, service_url
from plimsoll_runtime import builtin

NAME = "from-hub"
HUB = "hub"
PORT = 8080
CUT = 800_000
"""Bytes after which each answer with weights breaks off; the model has 6 million."""
FOLDER = """
import sys
from plimsoll_runtime import builtin
sys.argv.insert(1, str(builtin.path("tiny")))
"""
PROMPT = [300, 20, 41, 77]


def hub(image: str) -> Object:
    script = FOLDER + Path(fake_hub.__file__).read_text("utf-8")
    return script_pod(HUB, image, script, str(PORT), str(CUT))


def config() -> Object:
    text = (builtin.path("tiny") / "config.json").read_text("utf-8")
    metadata = {"name": "hub-config"}
    data = {"config.json": text}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def from_hub(address: str) -> Object:
    model = {
        "source": "hf://org/model",
        "revision": fake_hub.COMMIT,
        "configFrom": {"configMapKeyRef": {"name": "hub-config"}},
        "maxContextLength": 2048,
    }
    endpoint = {"name": "HF_ENDPOINT", "value": f"http://{address}:{PORT}"}
    template = {"spec": {"containers": [{"name": "engine", "env": [endpoint]}]}}
    return tiny(NAME, model=model, template=template)


def greedy(proxy: str, namespace: str, name: str) -> str:
    sdk = client(service_url(proxy, namespace, name))
    answer = sdk.completions.create(model=name, prompt=PROMPT, max_tokens=24, temperature=0)
    return answer.choices[0].text


def test_a_model_comes_from_the_hub(
    kubectl: Kubectl, proxy: str, serving: str, operator_image: str
) -> None:
    kubectl.apply(hub(operator_image), config())

    def hub_address() -> str | None:
        status = (kubectl.get("pod", HUB) or {}).get("status", {})
        runs = status.get("phase") == "Running" and "serving" in kubectl.run("logs", HUB).stdout
        return status["podIP"] if runs else None

    address = eventually("the Hub runs", hub_address)
    kubectl.apply(from_hub(address))
    reasons: list[str] = []

    def ready() -> bool:
        resource = kubectl.get("llmdeployment", NAME)
        told = condition(resource, "Ready")
        if told and told["reason"] not in reasons:
            reasons.append(told["reason"])
            print(told["reason"], told["message"])
        return is_true(resource, "Ready")

    eventually("it serves", ready, timeout=240)
    assert "Downloading" in reasons

    (pod,) = kubectl.list("pods", pods_of(NAME))
    name = pod["metadata"]["name"]
    print(kubectl.run("logs", name, "--container", "download").stdout)
    # Each piece was asked for where the one before it had ended.
    asked = kubectl.run("logs", HUB).stdout.splitlines()
    ranges = [line.split()[-1] for line in asked if "model.safetensors" in line and "=" in line]
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in ranges]
    assert len(starts) >= 6
    assert starts == sorted(set(starts))
    assert greedy(proxy, kubectl.namespace, NAME) == greedy(proxy, kubectl.namespace, serving)

    kubectl.run("delete", "llmdeployment", NAME)
    kubectl.run("delete", "pod/" + HUB, "configmap/hub-config", "--wait=false")
