"""How often the operator calls the API server, as the API server counts it."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.support.kubectl import Kubectl
from e2e.support.watching import metric

NAME = "plimsoll-operator-calls"
ACCOUNT = {"namespace": "plimsoll-system", "name": "plimsoll-operator"}
FLOW_SCHEMA = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "FlowSchema",
    "metadata": {"name": NAME},
    "spec": {
        # As all ServiceAccounts are treated, only counted apart.
        "priorityLevelConfiguration": {"name": "workload-low"},
        "matchingPrecedence": 8500,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": ACCOUNT}],
                "resourceRules": [
                    {
                        "verbs": ["*"],
                        "apiGroups": ["*"],
                        "resources": ["*"],
                        "clusterScope": True,
                        "namespaces": ["*"],
                    }
                ],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        ],
    },
}


@contextmanager
def counted(system: Kubectl) -> Iterator[None]:
    """The operator's calls are counted inside the block."""
    system.run("delete", "flowschema", NAME, "--ignore-not-found")
    system.apply(FLOW_SCHEMA)
    try:
        yield
    finally:
        system.run("delete", "flowschema", NAME, "--ignore-not-found")


def api_calls(system: Kubectl) -> float:
    """Calls of the operator so far, reads, writes and beginnings of watches; of one API server."""
    return metric(
        system.run("get", "--raw", "/metrics").stdout,
        "apiserver_flowcontrol_dispatched_requests_total",
        lambda line: f'flow_schema="{NAME}"' in line,
    )
