"""etcd, API server, controller manager and scheduler."""

from e2e.cluster.binaries import Programs
from e2e.cluster.namespaces import run_inside, start_inside
from e2e.cluster.processes import ClusterError, Command, wait_for
from e2e.cluster.settings import API_SERVER_PORT, Settings

ETCD = "http://127.0.0.1:2379"
ISSUER = "https://kubernetes.default.svc"
# The defaults (20 to 50 requests a second) would measure the clients' throttling
# where a test counts how fast hundreds of resources get their children.
CLIENT_RATE = ("--kube-api-qps=300", "--kube-api-burst=600")


def start_etcd(settings: Settings, programs: Programs) -> None:
    start_inside(
        settings,
        "etcd",
        [
            programs["etcd"],
            f"--data-dir={settings.state / 'etcd'}",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",  # nothing of this survives `down`
            "--log-level=warn",
        ],
    )


def start_api_server(settings: Settings, programs: Programs) -> None:
    """Start the API server with its default admission plug-ins and NodeRestriction.

    It advertises the node's address, which pods can route to, so that the
    `kubernetes` Service works for them.
    """
    certificates = settings.certificates
    ports = settings.node_ports
    start_inside(
        settings,
        "kube-apiserver",
        [
            programs["kube-apiserver"],
            f"--etcd-servers={ETCD}",
            "--bind-address=0.0.0.0",
            f"--secure-port={API_SERVER_PORT}",
            f"--advertise-address={settings.node_address}",
            f"--tls-cert-file={certificates / 'apiserver.crt'}",
            f"--tls-private-key-file={certificates / 'apiserver.key'}",
            f"--client-ca-file={certificates / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={settings.service_range}",
            f"--service-node-port-range={ports.start}-{ports.stop - 1}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={certificates / 'service-accounts.key'}",
            f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
            f"--kubelet-certificate-authority={certificates / 'ca.crt'}",
            f"--kubelet-client-certificate={certificates / 'apiserver-kubelet-client.crt'}",
            f"--kubelet-client-key={certificates / 'apiserver-kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        ],
    )


def start_controllers(settings: Settings, programs: Programs) -> None:
    """Start the controller manager and the scheduler."""
    certificates = settings.certificates
    start_inside(
        settings,
        "kube-controller-manager",
        [
            programs["kube-controller-manager"],
            f"--kubeconfig={certificates / 'controller-manager.kubeconfig'}",
            f"--root-ca-file={certificates / 'ca.crt'}",
            f"--service-account-private-key-file={certificates / 'service-accounts.key'}",
            "--use-service-account-credentials",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            *CLIENT_RATE,
        ],
    )
    start_inside(
        settings,
        "kube-scheduler",
        [
            programs["kube-scheduler"],
            f"--kubeconfig={certificates / 'scheduler.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            *CLIENT_RATE,
        ],
    )


def wait_until_ready(settings: Settings, programs: Programs, seconds: float = 60) -> None:
    """Wait for the API server's /readyz, asked from inside. Raises ClusterError with its log."""
    kubeconfig = settings.certificates / "admin.kubeconfig"

    def ready() -> bool:
        request: Command = [
            programs["kubectl"],
            "--kubeconfig",
            kubeconfig,
            "get",
            "--raw",
            "/readyz",
        ]
        try:
            return run_inside(settings, request, timeout=10) == "ok"
        except ClusterError:
            return False

    wait_for(f"the API server (see {settings.logs}/kube-apiserver.log)", ready, seconds)
