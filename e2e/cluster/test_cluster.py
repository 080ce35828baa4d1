"""The harness itself: what every other end-to-end test takes for granted about its cluster.

Runs a cluster of its own beside any other, and takes it down.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.settings import REPOSITORY, settings_for

NAME = "selftest"
SETTINGS = settings_for(NAME)
IMAGE = "docker.io/plimsoll/operator:dev"
FOREIGN = "KUBECONFIG" in os.environ and Path(os.environ["KUBECONFIG"]) != SETTINGS.kubeconfig
pytestmark = [
    pytest.mark.timeout(1800),  # the first run builds the programs and an image
    pytest.mark.skipif(FOREIGN, reason="KUBECONFIG is set: the harness runs no cluster"),
]
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["HOSTNAME"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
ASK_API_SERVER = """
import json, os, ssl, sys, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
request = urllib.request.Request(
    f"https://{host}:{port}/api/v1/namespaces/{sys.argv[1]}/pods",
    headers={"Authorization": "Bearer " + open(folder + "token").read()},
)
trust = ssl.create_default_context(cafile=folder + "ca.crt")
try:
    with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
        print(sorted(item["metadata"]["name"] for item in json.load(answer)["items"]))
except urllib.error.HTTPError as error:
    print(error.code)
"""
ASK_SERVICE = """
import sys, urllib.request
print(" ".join(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode() for _ in range(30)))
"""


def harness(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The name comes first: what follows `--` belongs to the command that `exec` runs.
    argv = [sys.executable, "-m", "e2e.cluster", command, "--name", NAME, *arguments]
    return subprocess.run(argv, cwd=REPOSITORY, check=False, text=True, capture_output=True)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    command = [str(SETTINGS.kubectl), "--kubeconfig", str(SETTINGS.kubeconfig), *arguments]
    done = subprocess.run(command, check=False, text=True, capture_output=True, input=stdin)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback)
        text: str = answer.read().decode()
        return text


def eventually(check: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    up = harness("up")
    assert up.returncode == 0, up.stderr
    yield
    down = harness("down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="module")
def web() -> list[str]:
    """Two replicas behind a Service, in a namespace that enforces `restricted`; their names."""
    images = harness("images", "operator")
    assert images.returncode == 0, images.stderr
    container = {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", SERVER],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": "reader",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    labels = {"app": "web"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    rbac = "rbac.authorization.k8s.io/v1"
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}

    def named(version: str, kind: str, name: str, **more: object) -> dict[str, object]:
        metadata = {"name": name, "namespace": "web"}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}

    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "web", "labels": restricted},
        },
        named("v1", "ServiceAccount", "reader"),
        named(rbac, "Role", "reader", rules=rules),
        named(
            rbac,
            "RoleBinding",
            "reader",
            roleRef=role,
            subjects=[{"kind": "ServiceAccount", "name": "reader"}],
        ),
        named(
            "apps/v1",
            "Deployment",
            "web",
            spec={
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        ),
        named(
            "v1",
            "Service",
            "web",
            spec={
                "type": "NodePort",
                "selector": labels,
                "ports": [{"port": 80, "targetPort": 8080}],
            },
        ),
    ]
    kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    kubectl("-n", "web", "rollout", "status", "deployment/web", "--timeout=120s")
    pods = kubectl("-n", "web", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}")
    names = sorted(pods.split())
    # kube-proxy follows a change of endpoints within about a second.
    eventually(lambda: {fetch_or_none(node_url()) for _ in range(20)} == set(names))
    return names


def fetch_or_none(url: str) -> str | None:
    try:
        return fetch(url)
    except OSError:
        return None


def node_url() -> str:
    return f"http://127.0.0.1:{node_port()}/"


def node_port() -> int:
    path = "jsonpath={.spec.ports[0].nodePort}"
    return int(kubectl("-n", "web", "get", "service", "web", "-o", path))


def test_up_again_is_quick_and_changes_nothing() -> None:
    before = (SETTINGS.state / "holder.pid").read_text()
    begun = time.monotonic()
    again = harness("up")
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == str(SETTINGS.kubeconfig)
    assert (SETTINGS.state / "holder.pid").read_text() == before
    assert time.monotonic() - begun < 10


def test_a_node_port_answers_on_loopback_from_every_replica(web: list[str]) -> None:
    assert {fetch(node_url()) for _ in range(40)} == set(web)


def test_a_node_port_without_service_does_not_answer() -> None:
    free = next(port for port in SETTINGS.node_ports if port != node_port())
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        fetch(f"http://127.0.0.1:{free}/")


@pytest.mark.parametrize("host", ["web", "web.web.svc.cluster.local"])
def test_pods_reach_a_service_by_name(web: list[str], host: str) -> None:
    out = kubectl("-n", "web", "exec", web[0], "--", "python3", "-c", ASK_SERVICE, f"http://{host}")
    assert set(out.split()) == set(web)


def test_pods_reach_the_api_server_as_their_service_account(web: list[str]) -> None:
    ask = ("-n", "web", "exec", web[0], "--", "python3", "-c", ASK_API_SERVER)
    assert kubectl(*ask, "web").strip() == str(web)
    assert kubectl(*ask, "kube-system").strip() == "403"


def test_logs_come_through_the_kubelet(web: list[str]) -> None:
    # On a busy machine one of so many connections at once may be reset; the next one comes through.
    assert {fetch_or_none(node_url()) for _ in range(40)} - {None} == set(web)
    assert "GET / HTTP/1.1" in kubectl("-n", "web", "logs", web[0])


def test_pod_security_is_enforced() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": "web"},
        "spec": {"containers": [{"name": "c", "image": IMAGE}]},
    }
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        kubectl("apply", "-f", "-", stdin=json.dumps(pod))


def test_only_pods_with_gpus_land_on_fake_nodes(web: list[str]) -> None:
    made = harness("fake-gpus", "--nodes", "2", "--product", "NVIDIA-L40S", "--count", "4")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["fake-nvidia-l40s-0", "fake-nvidia-l40s-1"]
    container = {"name": "c", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "4"}}}
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"gpu-{number}", "labels": {"app": "gpu"}},
            "spec": {
                "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "containers": [container],
            },
        }
        for number in range(3)
    ]
    kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    )

    def placed() -> list[str]:
        wide = "jsonpath={range .items[*]}{.spec.nodeName}:{.status.phase} {end}"
        return sorted(kubectl("get", "pods", "-l", "app=gpu", "-o", wide).split())

    expected = [":Pending", "fake-nvidia-l40s-0:Running", "fake-nvidia-l40s-1:Running"]
    eventually(lambda: placed() == expected)
    nodes = "jsonpath={.items[*].spec.nodeName}"
    plain = kubectl("-n", "web", "get", "pods", "-o", nodes).split()
    assert set(plain) == {SETTINGS.node_name}


def test_a_killed_cluster_comes_up_again_without_leftovers() -> None:
    pid = (SETTINGS.state / "holder.pid").read_text().split()[0]
    assert harness("exec", "--", "true").returncode == 0
    become_root = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*become_root, "kill", "-KILL", pid], check=True)
    eventually(lambda: harness("status").returncode == 1)
    up = harness("up")
    assert up.returncode == 0, up.stderr
    assert kubectl("get", "pods", "--all-namespaces", "-o", "name") == ""


def test_nothing_is_left_after_down_and_images_survive(web: list[str]) -> None:
    assert harness("down").returncode == 0
    assert harness("residue").stdout == "nothing\n"
    assert not SETTINGS.state.exists()
    up = harness("up")
    assert up.returncode == 0, up.stderr
    images = harness("images", "operator")
    assert "up to date" in images.stderr
