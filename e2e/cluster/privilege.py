"""Root, which namespaces and containers need, by way of sudo for everybody else."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.processes import ClusterError
from e2e.cluster.settings import REPOSITORY, Settings

# What a command as root must see as the person does: above all whose folders it works in.
KEPT = (
    "PATH",
    "HOME",
    "KUBEBUILDER_ASSETS",
    "KUBECACHEDIR",
    "KUBERC",
    "PLIMSOLL_BASE_IMAGE",
    "SSL_CERT_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
)


def become_root(arguments: Sequence[str]) -> None:
    """Replace this process by the same command under sudo, unless it is root already."""
    if os.geteuid() == 0:
        return
    if shutil.which("sudo") is None:
        raise ClusterError("a cluster needs root: run this as root, or install sudo")
    kept = [f"{name}={os.environ[name]}" for name in KEPT if name in os.environ]
    os.chdir(REPOSITORY)
    command = ["sudo", "env", *kept, sys.executable, "-m", "e2e.cluster", *arguments]
    os.execvp("sudo", command)  # noqa: S606 (the point is to replace this process)


def give_to_caller(settings: Settings) -> None:
    """Let the person behind sudo read the kubeconfig and traverse to it."""
    uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if uid is None or gid is None:
        return
    if not str(settings.state).startswith(os.environ.get("HOME", "/root")):
        return
    paths: list[Path] = [settings.kubeconfig, settings.state, *settings.state.parents]
    for path in paths:
        if path == Path(os.environ["HOME"]):
            break
        if path.stat().st_uid == 0:
            os.chown(path, int(uid), int(gid))
