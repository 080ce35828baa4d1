"""Where a cluster lives: its folders, addresses and ports, all from its name."""

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

DEFAULT_NAME = "plimsoll"
SLOTS = 32
PORTS_PER_SLOT = 300
FIRST_PORT = 20000  # below the ports that Linux hands to outgoing connections (32768 and up)
API_SERVER_PORT = 6443
DOMAIN = "cluster.local"
MAX_SOCKET_PATH = 107  # bytes, sun_path of unix(7) less its terminator
SHIPPED = Path(__file__).resolve().parent
REPOSITORY = SHIPPED.parent.parent


@dataclass(frozen=True, slots=True)
class Settings:
    """One cluster on this machine.

    `slot` (0 to 31) chooses address ranges and ports, so that clusters of
    different slots do not meet. `state` goes when the cluster goes down;
    `cache` stays: it holds what is slow to make again.
    """

    name: str
    slot: int
    state: Path
    cache: Path

    @property
    def pod_range(self) -> IPv4Network:
        """Addresses of pods: the lower half real ones, the upper half KWOK's."""
        return IPv4Network(f"10.{244 - self.slot}.0.0/16")

    @property
    def real_pod_range(self) -> IPv4Network:
        return IPv4Network(f"10.{244 - self.slot}.0.0/17")

    @property
    def fake_pod_range(self) -> IPv4Network:
        return IPv4Network(f"10.{244 - self.slot}.128.0/17")

    @property
    def held_range(self) -> IPv4Network:
        """What the cluster's port-less bridge holds: Services and the node itself."""
        return IPv4Network(f"10.{96 + self.slot}.0.0/16")

    @property
    def service_range(self) -> IPv4Network:
        """The lower half of the held range, so that no Service can get the node's address."""
        return IPv4Network(f"10.{96 + self.slot}.0.0/17")

    @property
    def kubernetes_service(self) -> IPv4Address:
        return self.service_range[1]

    @property
    def node_address(self) -> IPv4Address:
        return self.held_range[-2]

    @property
    def node_name(self) -> str:
        return f"{self.name}-node"

    @property
    def api_port(self) -> int:
        """Port of the API server on the machine's 127.0.0.1."""
        return FIRST_PORT + self.slot * PORTS_PER_SLOT

    @property
    def node_ports(self) -> range:
        """NodePorts; each answers on the machine's 127.0.0.1 as well."""
        return range(self.api_port + 1, self.api_port + PORTS_PER_SLOT)

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def internal_api_url(self) -> str:
        return f"https://{self.node_address}:{API_SERVER_PORT}"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """A link to a kubectl of the cluster's own version, while the cluster is up."""
        return self.state / "kubectl"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Image contents and snapshots; survives `down`, so that no image is imported twice."""
        return self.cache / "containerd" / self.name

    @property
    def cgroup(self) -> str:
        return f"plimsoll-{self.name}"


def slot_of(name: str) -> int:
    """The slot of a name: 0 for the default name, 1 to 31 by hash for any other."""
    if name == DEFAULT_NAME:
        return 0
    return 1 + zlib.crc32(name.encode()) % (SLOTS - 1)


def settings_for(name: str, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings of the cluster called `name`, with folders by the XDG conventions.

    Raises ValueError for a name that cannot be part of a node's name or whose
    folder is too deep for a unix socket.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", name):
        raise ValueError(
            f"cluster name {name!r} is not usable: take at most 32 lower-case letters, "
            "digits and dashes, beginning and ending with a letter or digit"
        )
    home = Path(environment.get("HOME") or Path.home())
    state = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state")
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    settings = Settings(
        name=name,
        slot=slot_of(name),
        state=state.absolute() / "plimsoll" / "clusters" / name,
        cache=cache.absolute() / "plimsoll",
    )
    if len(os.fsencode(settings.containerd_socket)) > MAX_SOCKET_PATH:
        raise ValueError(
            f"{settings.containerd_socket} is longer than the {MAX_SOCKET_PATH} bytes a unix "
            "socket may have: set XDG_STATE_HOME to a shorter path"
        )
    return settings
