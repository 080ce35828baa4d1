"""A cluster's life: up, down, healthy or not."""

import datetime
import json
import shutil
import urllib.error
import urllib.request

from e2e.cluster import containerd, controlplane, dns, namespaces, network, node, packages
from e2e.cluster.binaries import Programs, programs
from e2e.cluster.certificates import write_all
from e2e.cluster.images import ensure_pause
from e2e.cluster.processes import ClusterError, Command, run
from e2e.cluster.progress import say, step
from e2e.cluster.residue import residue
from e2e.cluster.settings import Settings

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
    "forward",
)


def up(settings: Settings) -> None:
    """Bring the cluster up, or do nothing when it is up and healthy."""
    packages.ensure_node()
    built = programs(settings)
    if not broken(settings, built):
        say(f"cluster {settings.name} is up")
        return
    if settings.state.exists():
        say(f"cleaning up what an earlier run of cluster {settings.name} left")
    remove(settings)
    refuse_shared_slot(settings)
    with step(f"cluster {settings.name}"):
        settings.state.mkdir(parents=True)
        settings.kubectl.symlink_to(built["kubectl"])
        network.close_on_machine(settings)
        write_all(settings, datetime.datetime.now(datetime.UTC))
        namespaces.create(settings, built["pause"])
        network.set_up_inside(settings)
        network.forward_from_machine(settings, built)
        _write_network_configuration(settings)
        controlplane.start_etcd(settings, built)
        controlplane.start_api_server(settings, built)
        containerd.start(settings)
        ensure_pause(settings, built)
        controlplane.wait_until_ready(settings, built)
        controlplane.start_controllers(settings, built)
        dns.start(settings, built)
        node.start_kubelet(settings, built)
        node.start_proxy(settings, built)
        node.wait_until_ready(settings, built)
        if (reason := broken(settings, built)) is not None:
            raise ClusterError(f"cluster {settings.name} came up broken: {reason}")


def down(settings: Settings) -> list[str]:
    """Take the cluster down; returns what is left of it, which should be nothing."""
    with step(f"taking cluster {settings.name} down"):
        remove(settings)
    left = residue(settings)
    for line in left:
        say(f"left behind: {line}")
    return left


def remove(settings: Settings) -> None:
    """End and remove everything of the cluster that can be found, in any state."""
    namespaces.destroy(settings)
    node.remove_leftovers(settings)
    network.open_on_machine(settings)
    if settings.state.exists():
        shutil.rmtree(settings.state)


def remove_caches(settings: Settings) -> None:
    """Remove what `down` keeps. Raises ClusterError while any cluster is up that uses it."""
    clusters = settings.state.parent
    running = [folder.name for folder in clusters.iterdir()] if clusters.exists() else []
    if running:
        raise ClusterError(
            f"caches are in use by {', '.join(running)}: "
            + "; ".join(f"python -m e2e.cluster down --name {name}" for name in running)
        )
    with step(f"removing {settings.cache}"):
        shutil.rmtree(settings.cache, ignore_errors=True)


def broken(settings: Settings, built: Programs) -> str | None:
    """What is wrong with the cluster, or None when it is up and healthy."""
    if namespaces.holder(settings) is None:
        return "it is not up"
    for component in COMPONENTS:
        if not namespaces.alive(settings, component):
            return f"{component} has ended: see {settings.logs}/{component}.log"
    kubectl: Command = [built["kubectl"], "--kubeconfig", settings.kubeconfig]
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    try:
        query = ["get", "node", settings.node_name, "-o", f"jsonpath={path}"]
        ready = run([*kubectl, "--request-timeout=10s", *query])
    except ClusterError as error:
        return str(error)
    return None if ready == "True" else f"node {settings.node_name} has Ready={ready or 'unknown'}"


def refuse_shared_slot(settings: Settings) -> None:
    """Raise ClusterError when another running cluster has the same addresses and ports."""
    request = urllib.request.Request(f"http://127.0.0.1:{settings.api_port}/")
    try:
        urllib.request.urlopen(request, timeout=2)  # noqa: S310 (a constant http address)
    except urllib.error.HTTPError:
        pass
    except OSError:
        return
    raise ClusterError(
        f"port {settings.api_port} of 127.0.0.1 answers: another cluster whose name falls on the "
        f"same slot as {settings.name!r}, or another program; take another name"
    )


def _write_network_configuration(settings: Settings) -> None:
    folder = settings.state / "cni"
    folder.mkdir()
    (folder / "10-pods.conflist").write_text(json.dumps(node.network_configuration(settings)))
