"""Containers that bring models of the Hub into the pod's cache before the engine starts.

Containers of their own, so that the engine has neither the Hub's token nor a use for the network,
and their logs tell how far it is.
"""

from typing import Any

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.render.engine import RESTRICTED
from plimsoll_operator.render.model_mount import CACHE_PATH, Download, ModelMount
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.render.secrets import secret_environment

_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "512Mi"},
    "limits": {"memory": "1Gi"},
}
"""Pages of files that were written count as well, and are given back when memory is short."""


def download_containers(
    spec: LLMDeploymentSpec, mount: ModelMount, rendering: Rendering
) -> list[dict[str, Any]]:
    """One for each model; the kubelet runs one after the other, and again where one fails."""
    return [_container(spec, download, rendering) for download in mount.downloads]


def _container(spec: LLMDeploymentSpec, download: Download, rendering: Rendering) -> dict[str, Any]:
    revision = [] if download.revision is None else [f"--revision={download.revision}"]
    return {
        "name": download.container,
        "image": rendering.image,
        "imagePullPolicy": rendering.pull_policy,
        "command": ["plimsoll"],
        "args": ["download", download.source, *revision, f"--into={download.folder}"],
        "env": [{"name": "HOME", "value": CACHE_PATH}, *secret_environment(spec)],
        "resources": _RESOURCES,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {**RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
            {"name": "cache", "mountPath": CACHE_PATH},
        ],
    }
