"""An edit rolls out under traffic without a failed request; an edit back restores all, whatever
engines have measured meanwhile."""

from e2e.support.kubectl import Kubectl, Object, eventually, is_true
from e2e.support.resources import CHILD_KINDS, bare, pods_of, tiny
from e2e.support.traffic import Traffic, service_url

NAME = "edited"


def children(kubectl: Kubectl, name: str) -> dict[str, Object]:
    """Every child by kind and name, without what the server writes."""
    found = kubectl.list(CHILD_KINDS, f"app.kubernetes.io/instance={name}")
    return {f"{child['kind']}/{child['metadata']['name']}": bare(child) for child in found}


def rolled_out(kubectl: Kubectl, name: str) -> Object | None:
    """The resource once its present generation serves and no pod of another plan is left."""
    resource = kubectl.get("llmdeployment", name)
    if not resource or not is_true(resource, "Ready"):
        return None
    revision = resource["status"]["plan"]["revision"]
    pods = kubectl.list("pods", pods_of(name))
    plans = {pod["metadata"]["labels"]["plimsoll.dev/plan"] for pod in pods}
    return resource if plans == {revision} else None


def test_edit_and_edit_back(kubectl: Kubectl, proxy: str) -> None:
    kubectl.apply(tiny(NAME))
    first = eventually("it serves", lambda: rolled_out(kubectl, NAME), timeout=180)
    before = children(kubectl, NAME)
    assert len(before) == 6, sorted(before)

    with Traffic(service_url(proxy, kubectl.namespace, NAME), NAME) as traffic:
        kubectl.merge("llmdeployment", NAME, {"spec": {"model": {"maxContextLength": 1024}}})
        eventually(
            "the edited plan serves",
            lambda: (
                (resource := rolled_out(kubectl, NAME))
                and resource["status"]["plan"]["maxModelLen"] == 1024
            ),
        )
        kubectl.merge("llmdeployment", NAME, {"spec": {"model": {"maxContextLength": 2048}}})
        last = eventually(
            "the first plan serves again",
            lambda: (
                (resource := rolled_out(kubectl, NAME))
                and resource["status"]["plan"]["revision"] == first["status"]["plan"]["revision"]
                and resource
            ),
        )
    print(f"{len(traffic.answers)} requests during two rollouts")
    assert traffic.failures == []
    assert len(traffic.answers) > 10
    assert children(kubectl, NAME) == before
    assert last["status"]["plan"] == first["status"]["plan"]
    kubectl.run("delete", "llmdeployment", NAME)
