"""Routes and addresses of a cluster, and the way in from the machine's loopback.

Traffic stays on the machine twice over: the cluster's network namespace has
no way out at all, and on the machine itself the pod and Service ranges are
routed to nowhere while the cluster is up, so that a packet sent there by
mistake does not leave by the default route.
"""

import json
import socket
from ipaddress import IPv4Network

from e2e.cluster.binaries import Programs
from e2e.cluster.namespaces import run_inside, start_inside
from e2e.cluster.processes import ClusterError, run
from e2e.cluster.progress import say
from e2e.cluster.settings import API_SERVER_PORT, Settings

BRIDGE = "held0"


def close_on_machine(settings: Settings) -> None:
    """Route the cluster's ranges to nowhere on the machine.

    A range that the machine already routes somewhere (a company network, a
    VPN) is left alone: such packets do not follow the default route anyway.
    """
    for network in (settings.pod_range, settings.held_range):
        found = json.loads(run(["ip", "-json", "route", "show", "root", str(network)]) or "[]")
        if any(route.get("type") == "blackhole" for route in found):
            continue
        covering = json.loads(run(["ip", "-json", "route", "show", "match", str(network)]) or "[]")
        named = [route for route in [*found, *covering] if route["dst"] != "default"]
        if named:
            say(f"{network} is routed to {named[0]['dst']} on this machine; left as it is")
            continue
        run(["ip", "route", "add", "blackhole", str(network)])


def open_on_machine(settings: Settings) -> None:
    """Take the routes of `close_on_machine` away again."""
    for network in closed_ranges(settings):
        run(["ip", "route", "del", "blackhole", str(network)])


def closed_ranges(settings: Settings) -> list[IPv4Network]:
    """The cluster's ranges that are routed to nowhere on the machine."""
    routes = json.loads(run(["ip", "-json", "route", "show", "type", "blackhole"]) or "[]")
    closed = {route["dst"] for route in routes}
    return [
        network for network in (settings.pod_range, settings.held_range) if str(network) in closed
    ]


def set_up_inside(settings: Settings) -> None:
    """Loopback, the closed pod range, and the port-less bridge with the node's address.

    The bridge holds the Service range: a local connection to a Service needs
    some route before kube-proxy's rules turn it, and one to an address that no
    Service has fails on the bridge. A pod's own route wins over the closed range.
    """
    commands = (
        "link set lo up",
        f"route add blackhole {settings.pod_range}",
        f"link add {BRIDGE} type bridge",
        f"addr add {settings.node_address}/{settings.held_range.prefixlen} dev {BRIDGE}",
        f"link set {BRIDGE} up",
    )
    run_inside(settings, ["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")
    run_inside(settings, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])


def forward_from_machine(settings: Settings, programs: Programs) -> None:
    """Carry the API server's and all NodePorts from 127.0.0.1 into the cluster.

    Raises ClusterError naming the port when another program listens on one.
    """
    sockets: list[socket.socket] = []
    try:
        for port in (settings.api_port, *settings.node_ports):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                raise ClusterError(
                    f"port {port} of 127.0.0.1 is taken ({error}): stop what listens there, "
                    "or take another cluster name, which has other ports"
                ) from error
            listener.listen(1024)
        descriptors = [listener.fileno() for listener in sockets]
        argv = [
            *(programs["forward"], "-target", settings.node_address),
            *("-api-from", settings.api_port, "-api-to", API_SERVER_PORT),
            *("-sockets", ",".join(str(number) for number in descriptors)),
        ]
        start_inside(settings, "forward", [str(word) for word in argv], sockets=descriptors)
    finally:
        for listener in sockets:
            listener.close()
