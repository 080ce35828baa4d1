"""What reaches the API server's socket when a child is applied or a revision numbered anew."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from kubernetes.client.configuration import Configuration

from plimsoll_operator.kube.api_server import METADATA_ONLY, Cluster, ClusterError
from plimsoll_operator.kube.connection import Connection
from plimsoll_operator.kube.kinds import CONFIG_MAP, RESOURCE, REVISION

Sent = list[tuple[str, str, Any]]


@pytest.fixture
def server() -> Iterator[tuple[str, Sent]]:
    """An HTTP server on loopback, and the path, content type and body of every PATCH."""
    sent: Sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def do_GET(self) -> None:
            if self.path == "/api/v1/namespaces/ml/configmaps/traffic":
                # Of what is asked for as metadata alone the API server leaves out the content.
                alone = self.headers["Accept"] == METADATA_ONLY
                self.send_response(200 if alone else 500)
                self.end_headers()
                self.wfile.write(b'{"metadata": {"resourceVersion": "7"}}')
                return
            # As the API server: this path is served as one media type, and no other will do.
            right = self.headers["Accept"] == "application/jwk-set+json"
            self.send_response(200 if right and self.path == "/openid/v1/jwks" else 406)
            self.end_headers()
            self.wfile.write(b'{"keys": [{"kid": "one"}]}')

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", sent
    httpd.shutdown()
    thread.join()
    httpd.server_close()


async def test_bodies_are_objects_of_the_type_that_they_say(server: tuple[str, Sent]) -> None:
    url, sent = server
    configuration = Configuration()
    configuration.host = url
    cluster = Cluster(Connection(configuration))
    child = {**REVISION.type_meta(), "metadata": {"namespace": "ml", "name": "chat-1"}}
    await cluster.apply(child)
    await cluster.renumber(REVISION, "ml", "chat-1", "uid", 3)
    await cluster.renumber(REVISION, "ml", "chat-1", "uid", 3, owner={"uid": "owner"})
    await cluster.close()
    path = "/apis/apps/v1/namespaces/ml/controllerrevisions/chat-1?fieldManager=plimsoll"
    assert sent == [
        (f"{path}&force=true", "application/apply-patch+yaml", child),
        (path, "application/merge-patch+json", {"metadata": {"uid": "uid"}, "revision": 3}),
        (
            path,
            "application/merge-patch+json",
            {"metadata": {"uid": "uid", "ownerReferences": [{"uid": "owner"}]}, "revision": 3},
        ),
    ]


async def test_what_people_change_is_a_patch_of_the_version_that_they_saw(
    server: tuple[str, Sent],
) -> None:
    url, sent = server
    configuration = Configuration()
    configuration.host = url
    cluster = Cluster(Connection(configuration))
    metadata = {"namespace": "ml", "name": "chat", "uid": "u", "resourceVersion": "7"}
    for dry_run in (False, True):
        patch = {"spec": {"pin": None}}
        await cluster.edit(RESOURCE, {"metadata": metadata}, patch, dry_run=dry_run)
    await cluster.close()
    path = (
        "/apis/plimsoll.dev/v1alpha1/namespaces/ml/llmdeployments/chat"
        "?fieldManager=kubectl-plimsoll"
    )
    body = {"spec": {"pin": None}, "metadata": {"uid": "u", "resourceVersion": "7"}}
    assert sent == [
        (path, "application/merge-patch+json", body),
        (f"{path}&dryRun=All", "application/merge-patch+json", body),
    ]


async def test_keys_are_asked_for_as_what_they_are_served_as(server: tuple[str, Sent]) -> None:
    configuration = Configuration()
    configuration.host = server[0]
    cluster = Cluster(Connection(configuration))
    assert await cluster.token_keys() == ({"kid": "one"},)
    await cluster.close()


async def test_a_version_is_asked_for_without_the_content(server: tuple[str, Sent]) -> None:
    configuration = Configuration()
    configuration.host = server[0]
    cluster = Cluster(Connection(configuration))
    assert await cluster.version(CONFIG_MAP, "ml", "traffic") == "7"
    with pytest.raises(ClusterError):
        await cluster.version(CONFIG_MAP, "ml", "other")
    await cluster.close()
