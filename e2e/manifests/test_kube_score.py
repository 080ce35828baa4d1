"""kube-score finds nothing in what is shipped or rendered that is not argued in writing."""

import json
import re
import subprocess
from pathlib import Path

import yaml

from e2e.cluster.binaries import kube_score
from e2e.cluster.settings import REPOSITORY, settings_for
from e2e.support import install

PAGE = REPOSITORY / "docs" / "manifests.md"
MANIFESTS = REPOSITORY / "manifests"
SHIPPED = (
    MANIFESTS / "install.yaml",
    *sorted(
        path
        for folder in ("components", "autoscalers", "argocd", "flux")
        for path in (MANIFESTS / folder).rglob("*.yaml")
        if path.name != "kustomization.yaml"
    ),
)
RENDERED = sorted((REPOSITORY / "tests" / "golden" / "render").glob("v*/*.yaml"))
WELL = 10
"""The grade of a check in which nothing was found."""


def findings(program: Path, file: Path) -> set[str]:
    """Names of the checks that find something in a file's documents, which are judged together."""
    # As JSON, since its parser takes some of YAML's strings for numbers.
    documents = (json.dumps(item) for item in yaml.safe_load_all(file.read_text("utf-8")) if item)
    done = subprocess.run(
        [str(program), "score", "--output-format", "json", "-"],
        input="\n---\n".join(documents),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return {
        check["check"]["id"]
        for item in json.loads(done.stdout) or ()
        for check in item["checks"]
        if not check["skipped"] and check["grade"] < WELL
    }


def argued() -> set[str]:
    """The checks that the page names, in the second column of its table."""
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+) \| [^|]+ \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}


def test_what_kube_score_finds_is_argued_and_what_is_argued_is_found() -> None:
    program = kube_score(settings_for(install.cluster_name()))
    found = {file: findings(program, file) for file in (*SHIPPED, *RENDERED)}
    everything = set[str]().union(*found.values())
    assert everything == argued(), found


def test_it_would_notice(tmp_path: Path) -> None:
    program = kube_score(settings_for(install.cluster_name()))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "careless"},
        "spec": {
            "containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]
        },
    }
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(pod), "utf-8")
    assert "container-security-context-privileged" in findings(program, file)
