"""An edit rolls out under traffic without a failed request; an edit back restores the children."""

from e2e.support.kubectl import Kubectl, Object, eventually, is_true
from e2e.support.resources import CHILD_KINDS, bare, pods_of
from e2e.support.traffic import Traffic, service_url


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


def sized(resource: Object) -> Object:
    """Its plan but for the latency predicted, which follows what its engines measure meanwhile."""
    return {key: value for key, value in resource["status"]["plan"].items() if key != "predicted"}


def test_edit_and_edit_back(kubectl: Kubectl, proxy: str, serving: str) -> None:
    before = children(kubectl, serving)
    assert len(before) == 6, sorted(before)
    first = rolled_out(kubectl, serving)
    assert first is not None

    with Traffic(service_url(proxy, kubectl.namespace, serving), serving) as traffic:
        kubectl.merge("llmdeployment", serving, {"spec": {"model": {"maxContextLength": 1024}}})
        eventually(
            "the edited plan serves",
            lambda: (
                (resource := rolled_out(kubectl, serving))
                and resource["status"]["plan"]["maxModelLen"] == 1024
            ),
        )
        kubectl.merge("llmdeployment", serving, {"spec": {"model": {"maxContextLength": 2048}}})
        last = eventually(
            "the first plan serves again",
            lambda: (
                (resource := rolled_out(kubectl, serving))
                and resource["status"]["plan"]["revision"] == first["status"]["plan"]["revision"]
                and resource
            ),
        )
    print(f"{len(traffic.answers)} requests during two rollouts")
    assert traffic.failures == []
    assert len(traffic.answers) > 10
    assert children(kubectl, serving) == before
    assert sized(last) == sized(first)
