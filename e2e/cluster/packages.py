"""Debian packages that the cluster and its images need, installed when missing."""

import os
import shutil
from collections.abc import Sequence

from e2e.cluster.node import CNI_FOLDERS, CNI_PLUGINS
from e2e.cluster.processes import ClusterError, run
from e2e.cluster.progress import step

# Command that shows a package is there -> package.
NODE = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "mount": "mount",
}
IMAGES = {"mmdebstrap": "mmdebstrap", "buildah": "buildah", "skopeo": "skopeo"}
SEARCHED = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"


def missing(commands: dict[str, str], *, plugins: bool) -> list[str]:
    """Packages whose command is not found, and the CNI plug-ins if they are asked for."""
    wanted = [
        package
        for command, package in commands.items()
        if shutil.which(command, path=SEARCHED) is None
    ]
    complete = any(all((f / name).is_file() for name in CNI_PLUGINS) for f in CNI_FOLDERS)
    if plugins and not complete:
        wanted.append("containernetworking-plugins")
    return wanted


def ensure_node() -> None:
    """Install what the node needs. Raises ClusterError where there is no apt-get."""
    install(missing(NODE, plugins=True))


def ensure_images() -> None:
    """Install what the images are built with."""
    install(missing(IMAGES, plugins=False))


def install(names: Sequence[str]) -> None:
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(f"install what is missing and try again: {' '.join(names)}")
    become_root = [] if os.geteuid() == 0 else ["sudo"]
    apt = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    with step(f"apt-get install {' '.join(names)}"):
        try:
            run([*apt, "install", "--no-install-recommends", *names])
        except ClusterError:  # the list of packages may be old or was never fetched
            run([*apt, "update"])
            run([*apt, "install", "--no-install-recommends", *names])
