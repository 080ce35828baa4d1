"""Rules, dashboard and monitors name metrics, labels and ports that there are."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
import yaml

from plimsoll_operator.render.children import children
from plimsoll_operator.resource_metrics import OBJECTIVES
from plimsoll_operator.status.conditions import ORDER
from tests.unit.manifests import exposed_metrics
from tests.unit.manifests.network_policies import selects
from tests.unit.manifests.shipped import MANIFESTS, ROOT, documents, find
from tests.unit.plimsoll_operator.samples import IMAGE, cpu_plan, resource
from tests.unit.plimsoll_operator.test_resource_metrics import SERVING

FOLDER = MANIFESTS / "components" / "monitoring"
RULES = [
    rule
    for item in documents(FOLDER / "slo-rules.yaml", FOLDER / "operation-rules.yaml")
    for group in item["spec"]["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
DASHBOARD = json.loads((FOLDER / "plimsoll.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
UP = {"up": frozenset({"job", "instance", "namespace"})}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            call = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert call is not None
            yield variable["name"], f"sum by ({call[2]}) ({call[1]})"


def known() -> exposed_metrics.Exposed:
    """Every series, the recorded ones with the labels that their expressions leave."""
    found = {**exposed_metrics.engine(), **exposed_metrics.operator([SERVING]), **UP}
    for rule in RULES:
        if "record" in rule:
            kept = {"namespace", "llmdeployment", "le"} | set(rule.get("labels", ()))
            found[rule["record"]] = frozenset(kept | {"objective"})
    return found


KNOWN = known()


def nodes(expression: str) -> list[Any]:
    found: list[Any] = []
    promql.walk(promql.parse(expression), found.append)
    return found


def series(expression: str) -> list[Any]:
    """The vector selectors in it, those of ranges too."""
    return [node for node in nodes(expression) if isinstance(node, promql.VectorSelector)]


@pytest.mark.parametrize(("title", "expression"), tuple(expressions()))
def test_metrics_and_labels_exist(title: str, expression: str) -> None:
    used = {selector.name for selector in series(expression)}
    assert used
    assert used <= set(KNOWN)
    labels = frozenset[str]().union(*(KNOWN[name] for name in used))
    for selector in series(expression):
        for matcher in selector.matchers.matchers:
            assert matcher.name in KNOWN[selector.name], selector
            check_value(matcher)
    for node in nodes(expression):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= labels, node


def check_value(matcher: Any) -> None:
    """Values that are ours to choose are among those that the code writes."""
    values = {
        "type": set(ORDER),
        "status": {"True", "False", "Unknown"},
        "objective": set(OBJECTIVES),
        "state": {"existing", "ready"},
        "result": {"failed", "refused", "acted", "idle"},
    }.get(matcher.name)
    if values is not None:
        assert set(matcher.value.split("|")) <= values, matcher


def test_every_selector_is_seen() -> None:
    names = [each.name for each in series("a / (sum by (x) (rate(b[5m]) > c) and absent(d))")]
    assert sorted(names) == ["a", "b", "c", "d"]


def test_buckets_of_objectives_are_those_of_the_engine() -> None:
    text = exposed_metrics.engine_text()
    for metric, objective in (
        ("vllm:time_to_first_token_seconds", "time_to_first_token"),
        ("vllm:request_time_per_output_token_seconds", "time_per_output_token"),
    ):
        bounds = set(re.findall(rf'{metric}_bucket{{[^}}]*le="([^"]+)"', text)) - {"+Inf"}
        named = {str(bound) for bound in OBJECTIVES[objective][1]}
        assert named == bounds


def test_alerts_are_explained_to_people() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text("utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == list(ALERTS)
    for rule in ALERTS.values():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize("alert", ALERTS)
def test_annotations_use_labels_that_the_alert_has(alert: str) -> None:
    rule = ALERTS[alert]
    kept = frozenset[str]().union(*(KNOWN[each.name] for each in series(rule["expr"])))
    for node in nodes(rule["expr"]):
        if isinstance(node, promql.AggregateExpr):
            kept &= frozenset(node.modifier.labels) if node.modifier else frozenset()
    used = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
    assert set(used) <= kept


def test_monitors_find_what_they_scrape() -> None:
    service_monitor, _ = documents(FOLDER / "monitors.yaml")
    service = find("Service", "plimsoll-operator-metrics")
    assert selects(service_monitor["spec"]["selector"], service["metadata"]["labels"])
    (endpoint,) = service_monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert f'job="{service["metadata"]["name"]}"' in ALERTS["PlimsollOperatorDown"]["expr"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_pod_monitor_scrapes_each_engine_once_by_what_it_speaks(scheme: str) -> None:
    _, pod_monitor = documents(FOLDER / "monitors.yaml")
    tls = {"tls": {"certificateFrom": {"secretRef": {"name": "shown"}}}}
    model = {"source": "builtin://tiny"}
    owner = resource(spec={"model": model, **(tls if scheme == "https" else {})})
    assert owner.spec is not None
    template = children(owner, owner.spec, cpu_plan(), IMAGE, 1)[-1]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert selects(pod_monitor["spec"]["selector"], labels)
    (container,) = template["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    (endpoint,) = (
        each for each in pod_monitor["spec"]["podMetricsEndpoints"] if each["port"] in ports
    )
    assert endpoint.get("scheme", "http") == scheme
    (relabeling,) = endpoint["relabelings"]
    (source,) = relabeling["sourceLabels"]
    assert source in {
        "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label) for label in labels
    }


def test_panels_do_not_overlap_and_are_told_apart() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_component_ships_all_its_files() -> None:
    component = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    (generator,) = component["configMapGenerator"]
    named = {*component["resources"], *generator["files"], "kustomization.yaml"}
    assert named == {path.name for path in FOLDER.iterdir()}
