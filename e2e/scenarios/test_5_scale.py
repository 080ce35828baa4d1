"""Load raises the queue: one replica becomes two, and one again when the load has gone."""

from e2e.support.kubectl import Kubectl, condition, eventually, is_true
from e2e.support.resources import tiny
from e2e.support.traffic import Traffic, service_url

NAME = "scaled"


def ready_replicas(kubectl: Kubectl) -> int:
    resource = kubectl.get("llmdeployment", NAME) or {}
    return int(resource.get("status", {}).get("readyReplicas", 0))


def test_queue_scales_up_and_down(kubectl: Kubectl, proxy: str) -> None:
    kubectl.apply(
        tiny(
            NAME,
            pin={"maxNumSeqs": 2},
            scaling={"minReplicas": 1, "maxReplicas": 2, "scaleDownStabilization": "15s"},
        )
    )
    eventually("ready", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    assert ready_replicas(kubectl) == 1
    url = service_url(proxy, kubectl.namespace, NAME)
    with Traffic(url, NAME, clients=12, output_tokens=100) as traffic:
        eventually("two replicas serve", lambda: ready_replicas(kubectl) == 2)
    assert traffic.failures == []
    eventually("one replica is left", lambda: ready_replicas(kubectl) == 1)
    resource = kubectl.get("llmdeployment", NAME)
    active = condition(resource, "AutoscalingActive")
    assert active is not None
    assert active["status"] == "True", active
    events = kubectl.run("events", "--for", f"llmdeployment/{NAME}").stdout
    print(events)
    assert "from 1 to 2" in events
    assert "from 2 to 1" in events
    kubectl.run("delete", "llmdeployment", NAME)
