"""The cluster's one real node: kubelet, kube-proxy, and the network of pods."""

import json
import shutil
from pathlib import Path

from e2e.cluster import cgroups
from e2e.cluster.binaries import Programs
from e2e.cluster.namespaces import run_inside, start_inside
from e2e.cluster.processes import ClusterError, Command, wait_for
from e2e.cluster.progress import say
from e2e.cluster.settings import DOMAIN, Settings

CNI_PLUGINS = ("ptp", "host-local", "portmap", "loopback")
PROXY_HEALTH = "127.0.0.1:10256"
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def cni_folder() -> Path:
    """Where the CNI plug-ins are. Raises ClusterError when they are nowhere."""
    for folder in CNI_FOLDERS:
        if all((folder / plugin).is_file() for plugin in CNI_PLUGINS):
            return folder
    raise ClusterError(
        f"CNI plug-ins {', '.join(CNI_PLUGINS)} are in none of {[str(f) for f in CNI_FOLDERS]}: "
        "install containernetworking-plugins"
    )


def network_configuration(settings: Settings) -> dict[str, object]:
    """The CNI configuration.

    `ptp` gives every pod a cable of its own to the node: all traffic between
    pods passes the node's netfilter, so that answers of a Service find their
    way back without br_netfilter or masquerading, and pods see true addresses.
    """
    return {
        "cniVersion": "0.4.0",
        "name": settings.name,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(settings.state / "pod-addresses"),
                    "ranges": [[{"subnet": str(settings.real_pod_range)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_configuration(settings: Settings) -> dict[str, object]:
    """The kubelet's configuration file.

    Nothing is evicted and no image collected: a full disk must show as an
    error of the test that filled it, and images exist nowhere else.
    """
    never = dict.fromkeys(
        ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"
    )
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(settings.certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(settings.certificates / "kubelet.crt"),
        "tlsPrivateKeyFile": str(settings.certificates / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{settings.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "evictionHard": never,
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        "podLogsDir": "/var/log/pods",
        "resolvConf": str(settings.state / "resolv.conf"),
        "clusterDNS": [str(settings.node_address)],
        "clusterDomain": DOMAIN,
        "nodeStatusReportFrequency": "10s",
        "logging": {"verbosity": 1},
    }


def start_kubelet(settings: Settings, programs: Programs) -> None:
    """Start the kubelet, with its pods in a cgroup of the cluster's own."""
    cgroups.create(settings.cgroup)
    (settings.state / "resolv.conf").write_text("")
    configuration = settings.state / "kubelet.json"
    configuration.write_text(json.dumps(kubelet_configuration(settings), indent=1))
    start_inside(
        settings,
        "kubelet",
        [
            programs["kubelet"],
            f"--config={configuration}",
            f"--kubeconfig={settings.certificates / 'kubelet.kubeconfig'}",
            f"--root-dir={settings.state / 'kubelet'}",
            f"--hostname-override={settings.node_name}",
            f"--node-ip={settings.node_address}",
        ],
    )


def start_proxy(settings: Settings, programs: Programs) -> None:
    start_inside(
        settings,
        "kube-proxy",
        [
            programs["kube-proxy"],
            f"--kubeconfig={settings.certificates / 'proxy.kubeconfig'}",
            f"--hostname-override={settings.node_name}",
            f"--cluster-cidr={settings.pod_range}",
            "--proxy-mode=iptables",
            "--iptables-localhost-nodeports=false",
            # The limits of connection tracking belong to the machine.
            *("--conntrack-max-per-core=0", "--conntrack-min=0"),
            *("--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"),
            f"--healthz-bind-address={PROXY_HEALTH}",
            "--metrics-bind-address=127.0.0.1:10249",
        ],
    )


def wait_until_ready(settings: Settings, programs: Programs, seconds: float = 90) -> None:
    """Wait until the node is Ready and `default` has its ServiceAccount."""
    kubectl: Command = [
        programs["kubectl"],
        "--kubeconfig",
        settings.certificates / "admin.kubeconfig",
    ]

    def node_ready() -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        try:
            query = ["get", "node", settings.node_name, "-o", f"jsonpath={path}"]
            return run_inside(settings, [*kubectl, *query], timeout=10) == "True"
        except ClusterError:
            return False

    def account_there() -> bool:
        try:
            run_inside(settings, [*kubectl, "get", "serviceaccount", "default"], timeout=10)
        except ClusterError:
            return False
        return True

    wait_for(f"node {settings.node_name} (see {settings.logs}/kubelet.log)", node_ready, seconds)

    def proxy_healthy() -> bool:
        ask: Command = [programs["kubectl"], "--server", f"http://{PROXY_HEALTH}"]
        try:
            run_inside(settings, [*ask, "get", "--raw", "/healthz"], timeout=10)
        except ClusterError:
            return False
        return True

    wait_for("the default ServiceAccount", account_there, seconds)
    wait_for(f"kube-proxy (see {settings.logs}/kube-proxy.log)", proxy_healthy, seconds)


def remove_leftovers(settings: Settings) -> None:
    """Remove what the node keeps outside its namespaces: its cgroups."""
    left = cgroups.remove(settings.cgroup)
    if left:
        say(f"cgroups that could not be removed: {', '.join(str(path) for path in left)}")
    shutil.rmtree(settings.state / "kubelet", ignore_errors=True)
