"""A metrics API for tests: requests in flight of each LLMDeployment, as its engines say."""

import base64
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from e2e.support.kubectl import Kubectl, Object, condition, eventually
from e2e.support.resources import script_pod

NAME = "external-metrics"
GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
METRIC = "plimsoll_requests_in_flight"
PORT = 8443
CERTIFICATES = "/var/run/certificates"
SCRIPT = """
import datetime, http.server, json, re, socket, ssl, sys, urllib.parse, urllib.request
namespace, metric, group = sys.argv[1:4]
IN_FLIGHT = re.compile(r"^vllm:num_requests_(?:running|waiting)\\{.*\\} (\\S+)$", re.MULTILINE)

def in_flight(name):
    host = f"{name}-metrics.{namespace}.svc.cluster.local"
    pods = {info[4][0] for info in socket.getaddrinfo(host, 8000, socket.AF_INET)}
    texts = [urllib.request.urlopen(f"http://{pod}:8000/metrics", timeout=5).read() for pod in pods]
    return sum(float(value) for text in texts for value in IN_FLIGHT.findall(text.decode()))

def answer(path):
    url = urllib.parse.urlsplit(path)
    base = f"/apis/{group}"
    if url.path == base:
        return None
    if url.path == f"{base}/v1beta1":
        resource = {"name": metric, "singularName": "", "namespaced": True, "verbs": ["get"]}
        resource["kind"] = "ExternalMetricValueList"
        about = {"groupVersion": f"{group}/v1beta1", "resources": [resource]}
        return {"kind": "APIResourceList", **about}
    if url.path != f"{base}/v1beta1/namespaces/{namespace}/{metric}":
        return None
    selector = urllib.parse.parse_qs(url.query)["labelSelector"][0]
    key, _, name = selector.partition("=")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    item = {"metricName": metric, "metricLabels": {key: name}, "timestamp": now}
    item["value"] = str(int(in_flight(name)))
    return {"kind": "ExternalMetricValueList", "metadata": {}, "items": [item]}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            found = answer(self.path)
            status = 200 if found else 404
        except Exception as error:
            found, status = {"kind": "Status", "message": str(error)}, 500
        body = json.dumps({"apiVersion": f"{group}/v1beta1", **(found or {})}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("", 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/var/run/certificates/tls.crt", "/var/run/certificates/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def serve(kubectl: Kubectl, image: str) -> None:
    """Has the API server offer the metric in kubectl's namespace; `image` has a Python."""
    certificate, key = _certificate(f"{NAME}.{kubectl.namespace}.svc")
    volumes = {CERTIFICATES: {"secret": {"secretName": NAME}}}
    pod = script_pod(NAME, image, SCRIPT, kubectl.namespace, METRIC, GROUP, volumes=volumes)
    pod["metadata"]["labels"] = {"app": NAME}
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME},
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": base64.b64encode(certificate).decode(),
                "tls.key": base64.b64encode(key).decode(),
            },
        },
        pod,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": {"app": NAME}, "ports": [{"port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": base64.b64encode(certificate).decode(),
                "service": {"name": NAME, "namespace": kubectl.namespace},
            },
        },
    )

    def available() -> Object | None:
        found = condition(kubectl.get("apiservice", f"{VERSION}.{GROUP}"), "Available")
        return found if found and found["status"] == "True" else None

    eventually("the metrics API is served", available, timeout=90)


def remove(kubectl: Kubectl) -> None:
    """Takes it away; an APIService without a server would make every discovery fail in part."""
    kubectl.run("delete", "apiservice", f"{VERSION}.{GROUP}", "--ignore-not-found")
    kubectl.run("delete", "service,pod,secret", NAME, "--ignore-not-found", "--grace-period=1")


def _certificate(host: str) -> tuple[bytes, bytes]:
    """A certificate of its own authority for a day, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return certificate.public_bytes(encoding), key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
