"""Load raises the queue: one replica becomes two, and one again when the load has gone.

Of two replicas the busy one stays; the other is drained, and goes.
"""

from e2e.support.kubectl import Kubectl, condition, eventually, is_true
from e2e.support.resources import pods_of, tiny
from e2e.support.traffic import Traffic, pod_url, service_url

NAME = "scaled"


def ready_replicas(kubectl: Kubectl) -> int:
    resource = kubectl.get("llmdeployment", NAME) or {}
    return int(resource.get("status", {}).get("readyReplicas", 0))


def pods(kubectl: Kubectl) -> list[str]:
    """Names of the pods that are not on their way out, oldest first."""
    found = [
        (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
        for pod in kubectl.list("pods", pods_of(NAME))
        if "deletionTimestamp" not in pod["metadata"]
    ]
    return [name for _, name in sorted(found)]


def settled(kubectl: Kubectl, replicas: int) -> bool:
    """Whether so many serve, and no rollout of an edit is under way."""
    ready = is_true(kubectl.get("llmdeployment", NAME), "Ready")
    return ready and ready_replicas(kubectl) == replicas == len(pods(kubectl))


def draining(kubectl: Kubectl) -> list[str]:
    """Who drains, by a status that never counts that as a failure."""
    resource = kubectl.get("llmdeployment", NAME)
    for kind, status in (("Ready", "True"), ("Stalled", "False")):
        assert (condition(resource, kind) or {}).get("status") == status, resource
    return list((resource or {})["status"].get("draining") or [])


def ask_for(kubectl: Kubectl, replicas: int) -> None:
    kubectl.run("scale", "llmdeployment", NAME, f"--replicas={replicas}")


def test_queue_scales_up_and_down(kubectl: Kubectl, proxy: str) -> None:
    kubectl.apply(
        tiny(
            NAME,
            pin={"maxNumSeqs": 1},
            scaling={"minReplicas": 1, "maxReplicas": 2, "scaleDownStabilization": "15s"},
        )
    )
    eventually("ready", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    assert ready_replicas(kubectl) == 1
    url = service_url(proxy, kubectl.namespace, NAME)
    with Traffic(url, NAME, clients=12, output_tokens=100, pause=0) as traffic:
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


def test_the_idle_replica_goes_and_the_busy_one_stays(kubectl: Kubectl, proxy: str) -> None:
    scaling = {"mode": "External", "minReplicas": 1, "maxReplicas": 2}
    kubectl.apply(tiny(NAME, pin={"maxNumSeqs": 1}, scaling=scaling, replicas=2))
    eventually("two replicas serve by this plan, and no others", lambda: settled(kubectl, 2))
    # A ReplicaSet by itself would delete the younger one.
    busy = pods(kubectl)[-1]
    # All at once, so that how long they keep the engine busy does not depend on the clients; and so
    # few that the last one is answered before a client gives up, where a core is slow.
    at_busy = Traffic(
        pod_url(proxy, kubectl.namespace, busy), NAME, 15, output_tokens=1000, limit=1
    )
    url = service_url(proxy, kubectl.namespace, NAME)
    with Traffic(url, NAME, clients=1) as anywhere, at_busy:
        eventually("the busy one is busy", lambda: at_busy.answers)
        ask_for(kubectl, 1)
        eventually("one goes", lambda: len(pods(kubectl)) == 1)
        assert pods(kubectl) == [busy]
        eventually("nothing drains", lambda: draining(kubectl) == [])
    assert anywhere.failures == at_busy.failures == []
    assert anywhere.answers
    kubectl.run("delete", "llmdeployment", NAME)
