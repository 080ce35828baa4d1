"""A real Prometheus computes the rules over what our processes expose, and every query of the
dashboard."""

import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from plimsoll_operator import metrics
from plimsoll_operator.resource_metrics import ResourceCollector
from tests.unit.manifests.exposed_metrics import engine_text
from tests.unit.manifests.shipped import documents
from tests.unit.manifests.test_monitoring import FOLDER, expressions
from tests.unit.plimsoll_operator.test_resource_metrics import SERVING

PROMETHEUS = shutil.which("prometheus")
COUNTED = re.compile(
    r"^(vllm:(?:time_to_first_token|request_time_per_output_token)_seconds_(?:bucket|count)"
    r"\{[^}]*\}) .*$",
    re.MULTILINE,
)
VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}
SECONDS = 240

pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
    pytest.mark.timeout(300),
]


@contextmanager
def exposed() -> Iterator[int]:
    """The port at which an operator and an engine that serves ever more are to be scraped."""
    served = itertools.count(10, 10)
    registry = CollectorRegistry()
    registry.register(ResourceCollector(lambda: [SERVING]))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/operator":
                body = generate_latest(metrics.REGISTRY) + generate_latest(registry)
            else:
                body = COUNTED.sub(rf"\1 {next(served)}", engine_text()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def groups() -> list[dict[str, Any]]:
    """As shipped, only computed each second."""
    found = documents(FOLDER / "slo-rules.yaml", FOLDER / "operation-rules.yaml")
    return [{**group, "interval": "1s"} for item in found for group in item["spec"]["groups"]]


def configuration(port: int) -> dict[str, Any]:
    """What the shipped monitors make of our Services and pods."""
    target = f"127.0.0.1:{port}"
    engine = {"namespace": "ml", "llmdeployment": "chat", "pod": "chat-1"}
    return {
        "global": {"scrape_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "plimsoll-operator-metrics",
                "metrics_path": "/operator",
                "honor_labels": True,
                "static_configs": [{"targets": [target]}],
            },
            {
                "job_name": "engines",
                "metrics_path": "/engine",
                "static_configs": [{"targets": [target], "labels": engine}],
            },
        ],
    }


def ask(url: str, **query: str) -> Any:
    asked = f"{url}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - of this machine
        found = json.load(answer)
    assert found["status"] == "success", (query, found)
    return found["data"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one that scrapes them."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}), "utf-8")
    with exposed() as target:
        path = folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(configuration(target)), "utf-8")
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(  # noqa: S603 - a program that the developer installed
                [
                    str(PROMETHEUS),
                    f"--config.file={path}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                wait_for(f"http://127.0.0.1:{port}", process, Path(log.name))
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until every rule was computed, and what the rates are made of is there."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text("utf-8")
        try:
            if (
                not any(rule["health"] == "unknown" for rule in rules(url))
                and ask(f"{url}/api/v1/query", query="plimsoll:burn:rate5m")["result"]
            ):
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise TimeoutError(log.read_text("utf-8"))


def rules(url: str) -> list[dict[str, Any]]:
    found = ask(f"{url}/api/v1/rules")["groups"]
    return [rule for group in found for rule in group["rules"]]


def test_every_rule_is_loaded_and_computed(prometheus: str) -> None:
    shipped = [rule for group in groups() for rule in group["rules"]]
    loaded = rules(prometheus)
    assert sorted(rule["name"] for rule in loaded) == sorted(
        rule.get("alert") or rule["record"] for rule in shipped
    )
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}


def test_burn_rates_are_of_what_was_served(prometheus: str) -> None:
    found = ask(f"{prometheus}/api/v1/query", query="plimsoll:burn:rate5m")["result"]
    assert {item["metric"]["objective"] for item in found} == {
        "time_to_first_token",
        "time_per_output_token",
    }
    # All are within their objective's bucket.
    assert {(item["metric"]["llmdeployment"], item["value"][1]) for item in found} == {
        ("chat", "0")
    }


@pytest.mark.parametrize(("title", "expression"), tuple(expressions()))
def test_every_expression_is_computed(prometheus: str, title: str, expression: str) -> None:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    ask(f"{prometheus}/api/v1/query", query=re.sub(r"\$\w+", ".*", expression))
