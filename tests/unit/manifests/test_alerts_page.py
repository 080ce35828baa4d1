"""The examples of docs/alerts.md find what the monitors find."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "manifests" / "components" / "monitoring"
OVERLAY, SCRAPING = (
    yaml.safe_load(block)
    for block in re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "alerts.md").read_text("utf-8"), re.DOTALL
    )
)
MONITORS = {
    each["kind"]: each for each in yaml.safe_load_all((MONITORING / "monitors.yaml").read_text())
}


def kept(job: dict[str, Any]) -> dict[str, str]:
    """What is asked of a target, by its label in Prometheus."""
    rules = job["relabel_configs"]
    return {each["source_labels"][0]: each["regex"] for each in rules if each.get("action")}


def test_jobs_keep_the_targets_of_the_monitors() -> None:
    operator, engines = SCRAPING["scrape_configs"]
    (service,) = yaml.safe_load_all((ROOT / "manifests" / "base" / "service.yaml").read_text())
    assert kept(operator) == {"__meta_kubernetes_service_name": service["metadata"]["name"]}
    # As the Prometheus Operator names a job, which the rules ask for.
    assert operator["job_name"] == service["metadata"]["name"]
    assert f'job="{operator["job_name"]}"' in (MONITORING / "operation-rules.yaml").read_text()
    assert MONITORS["ServiceMonitor"]["spec"]["endpoints"][0]["honorLabels"]
    assert operator["honor_labels"]
    wanted = MONITORS["PodMonitor"]["spec"]
    name = wanted["selector"]["matchLabels"]["app.kubernetes.io/name"]
    assert kept(engines) == {
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": name,
        "__meta_kubernetes_pod_container_port_name": wanted["podMetricsEndpoints"][0]["port"],
    }
    (relabeling,) = wanted["podMetricsEndpoints"][0]["relabelings"]
    assert {
        "source_labels": relabeling["sourceLabels"],
        "target_label": relabeling["targetLabel"],
    } in engines["relabel_configs"]


def test_the_overlay_labels_what_the_prometheus_operator_reads() -> None:
    (patch,) = OVERLAY["patches"]
    groups = {each["apiVersion"].partition("/")[0] for each in MONITORS.values()}
    for rules in MONITORING.glob("*-rules.yaml"):
        groups.add(yaml.safe_load(rules.read_text())["apiVersion"].partition("/")[0])
    assert groups == {patch["target"]["group"]}
    (change,) = yaml.safe_load(patch["patch"])
    folder, _, _ = change["path"].rpartition("/")
    assert folder == "/metadata/labels"
    assert all(each["metadata"]["labels"] for each in MONITORS.values())
