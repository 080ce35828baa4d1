"""HTTPS by a certificate from a Secret: what is missing is told, what is renewed is shown."""

import contextlib
import os
import re
import ssl
import subprocess
from collections.abc import Iterator

import httpx
import openai
import pytest
from cryptography import x509

from e2e.support.authority import Authority
from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of, tiny

NAME, SECRET = "shown", "shown-tls"
HOSTS = ("localhost", "shown.plimsoll-e2e.svc")


@contextlib.contextmanager
def forwarded(kubectl: Kubectl) -> Iterator[int]:
    """A port of the loopback that is the pod's API port, as the Service's port 443 finds it."""
    command = ["kubectl", "-n", kubectl.namespace, "port-forward", f"service/{NAME}", ":443"]
    environment = {**os.environ, "KUBECONFIG": kubectl.kubeconfig}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            port = re.search(r":(\d+) -> ", line)
            if port is None:
                raise RuntimeError(f"kubectl port-forward said: {line!r}")
            yield int(port[1])
        finally:
            process.terminate()


def client(port: int, trusting: ssl.SSLContext) -> openai.OpenAI:
    """The official SDK, which tries nothing again."""
    return openai.OpenAI(
        base_url=f"https://localhost:{port}/v1",
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=trusting),
    )


def pod(kubectl: Kubectl) -> Object:
    (found,) = kubectl.list("pods", pods_of(NAME))
    return found


def told(kubectl: Kubectl) -> str:
    """What Ready says of a certificate that cannot be used."""
    found = condition(kubectl.get("llmdeployment", NAME), "Ready")
    return found["message"] if found and found["reason"] == "CertificateUnusable" else ""


def shown(port: int) -> int:
    """Serial number of the certificate that a new connection is shown."""
    text = ssl.get_server_certificate(("localhost", port))
    return x509.load_pem_x509_certificate(text.encode()).serial_number


def measured(kubectl: Kubectl) -> bool:
    """Whether the operator scrapes the engine."""
    found = condition(kubectl.get("llmdeployment", NAME), "AutoscalingActive")
    return bool(found and found["reason"] == "QueueMeasured")


def test_tls_from_a_secret(kubectl: Kubectl) -> None:
    reference = {"certificateFrom": {"secretRef": {"name": SECRET}}}
    kubectl.apply(tiny(NAME, tls=reference, scaling={"minReplicas": 1, "maxReplicas": 2}))
    message = eventually("the Secret is missed", lambda: told(kubectl), every=0.2)
    print(message)
    assert f"Secret {SECRET} must be of the type kubernetes.io/tls" in message
    assert "tls.crt cannot be read: No such file or directory" in message

    authority = Authority()
    secret, serial = authority.secret(SECRET, *HOSTS)
    kubectl.apply(secret)
    eventually("it serves", lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"))
    found = kubectl.get("llmdeployment", NAME)
    assert found is not None
    assert found["status"]["endpoint"] == f"https://{HOSTS[1]}/v1"
    eventually("the operator reads its metrics", lambda: measured(kubectl))
    before = pod(kubectl)

    with forwarded(kubectl) as port:
        stranger = client(port, ssl.create_default_context())
        with stranger, pytest.raises(openai.APIConnectionError, match="Connection error"):
            stranger.models.list()
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://localhost:{port}/v1/models")
        assert shown(port) == serial
        renewed, serial = authority.secret(SECRET, *HOSTS)
        with client(port, authority.trusted) as sdk:
            assert [model.id for model in sdk.models.list()] == [NAME]
            kubectl.apply(renewed)
            # The kubelet looks at a pod's Secrets once a minute, and at once where it changes.
            kubectl.run("annotate", "pod", before["metadata"]["name"], "renewed=yes")

            def new_one_is_shown() -> bool:
                done = sdk.completions.create(model=NAME, prompt="import", max_tokens=8)
                assert done.usage is not None
                return shown(port) == serial

            eventually("the new certificate", new_one_is_shown)
    after = pod(kubectl)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    restarts = [each["status"]["containerStatuses"][0]["restartCount"] for each in (before, after)]
    assert restarts[0] == restarts[1]
    kubectl.run("delete", "llmdeployment", NAME)
    kubectl.run("delete", "secret", SECRET)
