"""The kinds of objects that the operator reads and writes, and where the API serves them."""

from dataclasses import dataclass

from plimsoll_operator.api import (
    ACCELERATOR_KIND,
    ACCELERATOR_PLURAL,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
)
from plimsoll_operator.render.labels import APP, MANAGED_BY_LABEL, MANAGER, NAME_LABEL


@dataclass(frozen=True)
class Kind:
    """`selector` limits what is listed and watched to what concerns us, by labels; so do `fields`
    what is listed once, for which an answer of the API server's cache is new enough."""

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool = True
    selector: str = ""
    fields: str = ""

    def type_meta(self) -> dict[str, str]:
        """apiVersion and kind, as every object of the kind bears them."""
        version = f"{self.group}/{self.version}" if self.group else self.version
        return {"apiVersion": version, "kind": self.name}

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of one object, or of the list where no name is given."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if namespace is not None and self.namespaced else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name is not None else "")


_OURS = f"{MANAGED_BY_LABEL}={MANAGER},{NAME_LABEL}={APP}"

RESOURCE = Kind(KIND, GROUP, VERSION, PLURAL)
ACCELERATOR = Kind(ACCELERATOR_KIND, GROUP, VERSION, ACCELERATOR_PLURAL, namespaced=False)
NODE = Kind("Node", "", "v1", "nodes", namespaced=False)
POD = Kind("Pod", "", "v1", "pods", selector=_OURS)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps")
EVENT = Kind("Event", "events.k8s.io", "v1", "events")
REVISION = Kind("ControllerRevision", "apps", "v1", "controllerrevisions", selector=_OURS)
CHILDREN = (
    REVISION,
    Kind("ServiceAccount", "", "v1", "serviceaccounts", selector=_OURS),
    Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", selector=_OURS),
    Kind("Service", "", "v1", "services", selector=_OURS),
    Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", selector=_OURS),
    Kind("Deployment", "apps", "v1", "deployments", selector=_OURS),
)
WATCHED = (RESOURCE, ACCELERATOR, NODE, POD, *CHILDREN)
BY_NAME = {kind.name: kind for kind in (*WATCHED, CONFIG_MAP, EVENT)}


def pods_on(node: str) -> Kind:
    """Pods of everybody that take room on a node."""
    fields = f"spec.nodeName={node},status.phase!=Failed,status.phase!=Succeeded"
    return Kind("Pod", "", "v1", "pods", fields=fields)
