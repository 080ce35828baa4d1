"""Alerts fire when they should and not otherwise, by Prometheus' own tool where it is installed."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.manifests.shipped import documents
from tests.unit.manifests.test_monitoring import FOLDER

PROMTOOL = shutil.which("promtool")
LABELS = 'namespace="ml", llmdeployment="chat"'
ENGINE = 'model_name="tiny", engine="0", pod="chat-1"'
TTFT = "vllm:time_to_first_token_seconds"
OBJECTIVE = f'plimsoll_operator_objective_seconds{{{LABELS}, objective="time_to_first_token"'

pytestmark = [
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed"),
    pytest.mark.timeout(300),  # twelve seconds of a core
]


def traffic(total: str, within: str) -> list[dict[str, str]]:
    """Counters of all requests and of those that took at most 0.8 s, and the objective."""
    return [
        {"series": f"{TTFT}_count{{{LABELS}, {ENGINE}}}", "values": total},
        {"series": f'{TTFT}_bucket{{{LABELS}, {ENGINE}, le="0.8"}}', "values": within},
        {"series": f'{TTFT}_bucket{{{LABELS}, {ENGINE}, le="+Inf"}}', "values": total},
        {"series": f'{OBJECTIVE}, le="0.8"}}', "values": "0.7x240"},
    ]


def condition(kind: str, status: str, reason: str, values: str) -> list[dict[str, str]]:
    name = f'plimsoll_operator_condition{{{LABELS}, type="{kind}", status="{status}"'
    return [{"series": f'{name}, reason="{reason}"}}', "values": values}]


UP = {"series": 'up{job="plimsoll-operator-metrics"}', "values": "1x240"}
WAITING = f"vllm:num_requests_waiting{{{LABELS}, {ENGINE}}}"
CASES: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "all requests in time": ([UP, *traffic("0+60x240", "0+60x240")], set()),
    # 4 of 100 are slow, as a p95 allows.
    "as many slow ones as may be": ([UP, *traffic("0+100x240", "0+96x240")], set()),
    "nearly all slow": (
        [UP, *traffic("0+100x240", "0+10x240")],
        {"PlimsollSLOBurnsFast", "PlimsollSLOBurns", "PlimsollSLOBurnsSlowly"},
    ),
    "a third slow": (
        [UP, *traffic("0+100x240", "0+65x240")],
        {"PlimsollSLOBurns", "PlimsollSLOBurnsSlowly"},
    ),
    "slow for an hour, well again for three": (
        [UP, *traffic("0+100x240", "0+10x60 700+100x180")],
        {"PlimsollSLOBurnsSlowly"},
    ),
    "no traffic": ([UP, *traffic("5x240", "1x240")], set()),
    "no operator": ([], {"PlimsollOperatorDown"}),
    "stalled": (
        [UP, *condition("Stalled", "True", "Infeasible", "1x240")],
        {"PlimsollDeploymentStalled"},
    ),
    "not stalled": ([UP, *condition("Stalled", "False", "Serving", "1x240")], set()),
    "not ready, for reasons that change": (
        [
            UP,
            *condition("Ready", "False", "RollingOut", "1x150"),
            *condition("Ready", "False", "Unschedulable", "_x150 1x90"),
        ],
        {"PlimsollDeploymentNotReady"},
    ),
    "held": (
        [UP, *condition("AutoscalingActive", "False", "NoSamples", "1x240")],
        {"PlimsollAutoscalingOnHold"},
    ),
    "scaled from outside": (
        [UP, *condition("AutoscalingActive", "False", "External", "1x240")],
        set(),
    ),
    "drifted": (
        [UP, *condition("PlanDrifted", "True", "TrafficDiffers", "1x240")],
        {"PlimsollPlanDrifted"},
    ),
    "a queue that grows": ([UP, {"series": WAITING, "values": "0+1x240"}], {"PlimsollQueueGrows"}),
    "a queue that shrinks": ([UP, {"series": WAITING, "values": "300-1x240"}], set()),
    "a short queue": ([UP, {"series": WAITING, "values": "5x240"}], set()),
    "serving unseen": (
        [
            UP,
            {
                "series": f'plimsoll_operator_deployment_replicas{{{LABELS}, state="ready"}}',
                "values": "2x240",
            },
        ],
        {"PlimsollEnginesUnmeasured"},
    ),
    "a tenth rejected": (
        [
            UP,
            {
                "series": f'plimsoll:requests_rejected_total{{{LABELS}, {ENGINE}, reason="x"}}',
                "values": "0+10x240",
            },
            {
                "series": f'vllm:request_success_total{{{LABELS}, {ENGINE}, finished_reason="x"}}',
                "values": "0+90x240",
            },
        ],
        {"PlimsollRequestsRejected"},
    ),
}


def _fires(alert: str, *, wanted: bool) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    samples = [{"labels": "{}", "value": int(wanted)}]
    return {"expr": firing, "eval_time": "4h", "exp_samples": samples}


def test_alerts_fire_as_told(tmp_path: Path) -> None:
    rules = documents(FOLDER / "slo-rules.yaml", FOLDER / "operation-rules.yaml")
    groups = [group for item in rules for group in item["spec"]["groups"]]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), "utf-8")
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [_fires(alert, wanted=alert in firing) for alert in alerts],
        }
        for name, (given, firing) in CASES.items()
    ]
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document), "utf-8")
    done = subprocess.run(  # noqa: S603 - a tool that the developer installed
        [str(PROMTOOL), "test", "rules", "tests.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
