"""What docs/plan.md tells people to paste is well-formed, and does what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from plimsoll_operator.api.workload import Workload
from plimsoll_operator.commands.plan import parser
from plimsoll_operator.planning.checks import EXIT_CODES

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
TRACED, KUSTOMIZE, GITHUB, GITLAB = (
    yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml"
)
KEYS_OF_A_GITLAB_JOB = {"image", "rules", "variables", "before_script", "script", "artifacts"}
CHAT = """
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {source: builtin://tiny}
  slo: {timeToFirstToken: {p95: 2s}, maxCostPerMillionTokens: "1000"}
"""


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = GITHUB["jobs"]["plan"]["steps"]
    return found


def scripts() -> list[str]:
    """Every piece of shell: fenced commands, steps of GitHub, lines of GitLab."""
    fenced = [block for kind, block in BLOCKS if not kind and block.startswith(("plimsoll", "k"))]
    runs = [step["run"] for step in steps() if "run" in step]
    return [*fenced, *runs, *GITLAB["plan"]["before_script"], *GITLAB["plan"]["script"]]


def test_the_recorded_workload_is_one() -> None:
    workload = Workload.model_validate(TRACED["workload"])
    assert workload.trace is not None
    assert (workload.trace.config_map_key_ref.name, workload.requests_per_second) == (
        "chat-trace",
        "6",
    )


def test_kustomize_is_told_where_the_trace_is_named() -> None:
    (reference,) = KUSTOMIZE["nameReference"]
    (field,) = reference["fieldSpecs"]
    path = field["path"].split("/")
    assert (reference["kind"], field["kind"], path[0]) == ("ConfigMap", "LLMDeployment", "spec")
    found: Any = {"workload": TRACED["workload"]}
    for name in path[1:]:
        found = found[name]
    assert found == "chat-trace"


def test_the_workflow_has_githubs_form() -> None:
    events = GITHUB[True]  # YAML 1.1 reads `on` so, and GitHub does not
    assert set(GITHUB) == {"name", True, "permissions", "jobs"}
    assert set(events) == {"pull_request"}
    assert GITHUB["jobs"]["plan"]["runs-on"]
    for step in steps():
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "uses", "with", "run", "env", "shell"}
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])


def test_the_pipeline_has_gitlabs_form() -> None:
    assert set(GITLAB) == {"plan"}
    assert set(GITLAB["plan"]) <= KEYS_OF_A_GITLAB_JOB
    assert all(isinstance(line, str) for line in GITLAB["plan"]["script"])


@pytest.mark.parametrize("script", scripts())
def test_shell_parses(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)  # noqa: S607
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_is_understood() -> None:
    flat = "\n".join(scripts()).replace("\\\n", " ")
    commands = re.findall(r"plimsoll plan ([^|>\n]+)", flat)
    assert len(commands) >= 6
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_exit_codes_are_those_of_the_command() -> None:
    told = re.findall(r"^\| (\d) \| `([a-z-]+)` \|", TEXT, re.MULTILINE)
    assert told == [(str(code), check.value) for check, code in EXIT_CODES.items()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository's files with the ones before beside them, and `plimsoll` on the path."""
    for folder in ("deploy", "before/deploy", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "before" / "deploy" / "chat.yaml").write_text(CHAT)
    (tmp_path / "nodes.yaml").write_text("[{accelerator: cpu, count: 1, pricePerHour: '1'}]")
    code = (
        "import sys; from plimsoll_operator.commands.plan import main; sys.exit(main(sys.argv[2:]))"
    )
    command = f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$@\"\n"
    (tmp_path / "bin" / "plimsoll").write_text(command)
    (tmp_path / "bin" / "plimsoll").chmod(0o755)
    return tmp_path


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("script", "promise", "code", "said"),
    [
        (steps()[-1]["run"], "1ms", 3, "SLO cannot hold"),
        ("\n".join(GITLAB["plan"]["script"]), "3s", 0, "no pod restarts"),
    ],
    ids=["github", "gitlab"],
)
def test_scripts_tell_what_changes_and_fail_as_they_should(
    checkout: Path, script: str, promise: str, code: int, said: str
) -> None:
    (checkout / "deploy" / "chat.yaml").write_text(CHAT.replace("2s", promise))
    summary = checkout / "summary.md"
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603
        ["bash", "-eo", "pipefail", "-c", script],  # noqa: S607
        cwd=checkout,
        env={**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(summary)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert said in (checkout / "plan.txt").read_text(encoding="utf-8")
    if "GITHUB_STEP_SUMMARY" in script:
        assert said in summary.read_text(encoding="utf-8")
