"""The API server in memory, asked by the operator's own client over TLS."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

from kubernetes.client.configuration import Configuration

from e2e.footprint.api_server import ApiServer
from e2e.support.authority import Authority
from plimsoll_operator.kube.api_server import Cluster
from plimsoll_operator.kube.connection import Connection
from plimsoll_operator.kube.kinds import BY_NAME, POD, RESOURCE

DEPLOYMENT = BY_NAME["Deployment"]
LABELS = {"app.kubernetes.io/managed-by": "plimsoll", "app.kubernetes.io/name": "plimsoll-engine"}


def child(name: str) -> dict[str, Any]:
    metadata = {"namespace": "ml", "name": name, "labels": LABELS}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": []}}
    return {**DEPLOYMENT.type_meta(), "metadata": metadata, "spec": {"template": template}}


async def test_the_operators_client_finds_an_api_server(tmp_path: Path) -> None:
    server = ApiServer()
    authority, *pair = Authority().files(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    configuration = Configuration()
    configuration.host = f"https://localhost:{await server.start(context)}"
    configuration.ssl_ca_cert = str(authority)
    cluster = Cluster(Connection(configuration))
    try:
        assert await cluster.get(DEPLOYMENT, "ml", "a") is None
        made = await cluster.apply(child("a"))
        assert made["metadata"]["managedFields"][0]["manager"] == "plimsoll"
        again = await cluster.apply(child("a"))
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        resource = {"metadata": {"namespace": "ml", "name": "chat"}, "spec": {}}
        raw = server.objects.create(RESOURCE.name, resource, "kubectl", "Update")
        written = await cluster.apply_status(RESOURCE, raw, {"replicas": 1})
        assert written["status"] == {"replicas": 1}
        await asyncio.sleep(0.3)  # the controllers' first writes
        pods, version = await cluster.list(POD)
        assert [pod["metadata"]["labels"]["pod-template-hash"] for pod in pods] == ["7c9d8f6b5"]
        assert int(version) == server.objects.version
        await cluster.delete(DEPLOYMENT, "ml", "a", made["metadata"]["uid"])
        await cluster.delete(DEPLOYMENT, "ml", "a", made["metadata"]["uid"])
        assert server.calls["PATCH Deployment"] == 2
        assert server.calls["PATCH LLMDeployment status"] == 1
    finally:
        await cluster.close()
        await server.stop()


async def test_a_watch_tells_what_is_newer_and_selected() -> None:
    objects = ApiServer().objects
    old = objects.create("Deployment", child("old"), "plimsoll", "Apply")
    objects.create("Deployment", child("new"), "plimsoll", "Apply")
    version = int(old["metadata"]["resourceVersion"])
    queue = objects.watch("Deployment", DEPLOYMENT.selector, version)
    stray = child("stray")
    stray["metadata"]["labels"] = {}
    objects.create("Deployment", stray, "somebody", "Apply")
    objects.delete("Deployment", ("ml", "old"))
    seen = [json.loads(queue.get_nowait()) for _ in range(queue.qsize())]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in seen] == [
        ("MODIFIED", "new"),
        ("DELETED", "old"),
    ]
