"""What an operator's process imports, in one place, so that it can be imported before a fork."""

import anyio._backends._asyncio
import httpcore
import kopf
import kubernetes.client
from kubernetes.config import kube_config

from plimsoll_operator import log
from plimsoll_operator.kube import handlers
from plimsoll_operator.kube.api_server import Cluster
from plimsoll_operator.manager import Manager
from plimsoll_operator.render.rendering import Rendering
from plimsoll_operator.settings import Settings

__all__ = [
    "Cluster",
    "Manager",
    "Rendering",
    "Settings",
    "anyio",
    "handlers",
    "httpcore",
    "kopf",
    "kube_config",
    "kubernetes",
    "log",
]
