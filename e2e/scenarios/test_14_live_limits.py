"""Lower limits go to engines as they serve, higher ones restart them; nobody else may send any."""

import json

import pytest

from e2e.support.kubectl import Kubectl, Object, eventually, is_true
from e2e.support.resources import CHILD_KINDS, bare, pods_of, script_pod, tiny
from e2e.support.traffic import Traffic, service_url

NAME = "limited"
ADMIN_PORT = 9090
STRANGER = "stranger"
ASK = """
import json, sys, urllib.error, urllib.request
path, address = "/var/run/secrets/test/token", sys.argv[1]
def ask(method, headers):
    body = json.dumps({"max_num_seqs": 1}).encode() if method == "PUT" else None
    headers = {**headers, "Content-Type": "application/json"}
    url = f"http://{address}:9090/admin/limits"
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
bearer = {"Authorization": "Bearer " + open(path).read()}
print(json.dumps([ask(method, h) for method in ("GET", "PUT") for h in ({}, bearer)]))
"""


def pods(kubectl: Kubectl) -> dict[str, int]:
    """Names of running engine pods, with their containers' restarts."""
    return {
        pod["metadata"]["name"]: sum(
            item["restartCount"] for item in pod["status"].get("containerStatuses", ())
        )
        for pod in kubectl.list("pods", pods_of(NAME))
        if "deletionTimestamp" not in pod["metadata"]
    }


def children(kubectl: Kubectl) -> list[Object]:
    found = kubectl.list(CHILD_KINDS, f"app.kubernetes.io/instance={NAME}")
    return sorted(map(bare, found), key=lambda item: (item["kind"], item["metadata"]["name"]))


def pin(kubectl: Kubectl, seqs: int, tokens: int) -> None:
    pinned = {"maxNumSeqs": seqs, "maxNumBatchedTokens": tokens}
    kubectl.merge("llmdeployment", NAME, {"spec": {"pin": pinned}})


def in_force(kubectl: Kubectl, seqs: int, tokens: int) -> Object | None:
    """The resource, once it is Ready and its engines say that they run under these limits."""
    resource = kubectl.get("llmdeployment", NAME)
    if not resource or not is_true(resource, "Ready"):
        return None
    limits = resource["status"].get("limits") or {}
    told = (limits.get("maxNumSeqs"), limits.get("maxNumBatchedTokens"))
    return resource if told == (seqs, tokens) else None


@pytest.fixture
def limited(kubectl: Kubectl) -> Object:
    kubectl.apply(tiny(NAME, pin={"maxNumSeqs": 8, "maxNumBatchedTokens": 256}))
    return eventually("it serves", lambda: in_force(kubectl, 8, 256), timeout=240)


def stranger(image: str, address: str) -> Object:
    """A pod with a good token of this cluster, of the right audience, but another subject's."""
    token = {"path": "token", "audience": "plimsoll.dev/engine"}
    projected = {"projected": {"sources": [{"serviceAccountToken": token}]}}
    return script_pod(STRANGER, image, ASK, address, volumes={"/var/run/secrets/test": projected})


def test_limits_follow_the_spec_and_strangers_stay_out(
    kubectl: Kubectl, proxy: str, limited: Object, operator_image: str
) -> None:
    before, started = children(kubectl), pods(kubectl)
    with Traffic(service_url(proxy, kubectl.namespace, NAME), NAME, clients=2) as traffic:
        pin(kubectl, 4, 128)
        lower = eventually("the lower limits are in force", lambda: in_force(kubectl, 4, 128))
        assert pods(kubectl) == started
        assert children(kubectl) == before
        limits = lower["status"]["limits"]
        assert limits["startedRevision"] == limited["status"]["plan"]["revision"]
        assert limits["startedRevision"] != lower["status"]["plan"]["revision"]

        pin(kubectl, 8, 256)
        eventually("the first limits are in force again", lambda: in_force(kubectl, 8, 256))
        assert pods(kubectl) == started
        assert children(kubectl) == before
    print(f"{len(traffic.answers)} requests meanwhile")
    assert traffic.failures == []
    assert len(traffic.answers) > 5

    # A new pod is started with more, and told.
    pin(kubectl, 4, 128)
    eventually("the lower limits are in force", lambda: in_force(kubectl, 4, 128))
    (name,) = started
    kubectl.run("delete", "pod", name)
    eventually(
        "a new pod has the lower limits",
        lambda: name not in pods(kubectl) and in_force(kubectl, 4, 128),
    )
    assert children(kubectl) == before

    (pod,) = kubectl.list("pods", pods_of(NAME))
    kubectl.apply(stranger(operator_image, pod["status"]["podIP"]))
    eventually(
        "the stranger has asked",
        lambda: (kubectl.get("pod", STRANGER) or {})["status"]["phase"] in ("Succeeded", "Failed"),
    )
    answered = kubectl.run("logs", STRANGER).stdout
    print(f"without a token and with another's: {answered}")
    assert json.loads(answered) == [401, 403, 401, 403]
    assert in_force(kubectl, 4, 128)

    pin(kubectl, 16, 256)
    eventually("higher limits are in force", lambda: in_force(kubectl, 16, 256), timeout=180)
    assert not set(pods(kubectl)) & set(started)
    assert pod["metadata"]["name"] not in pods(kubectl)
    kubectl.run("delete", "llmdeployment", NAME)
    kubectl.run("delete", "pod", STRANGER)
