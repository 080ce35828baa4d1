"""What `plimsoll plan` prints, and its exit codes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from plimsoll_operator.engines.engine_support import ENGINE
from tests.unit.plimsoll_operator.planning.plan_runs import CHAT, INVENTORY, main, run

BEHIND = """
---
apiVersion: plimsoll.dev/v1alpha1
kind: Accelerator
metadata: {name: cpu}
spec:
  products: [cpu]
  calibration:
    frontend: {request: 7.61ms, promptToken: 0ms, message: 0.328ms, event: 0.0837ms, token: 0ms}
"""


def test_feasible_is_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "✓ feasible" in out
    assert max(map(len, out.splitlines())) <= 80


def test_infeasible_is_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "chat.yaml").write_text(CHAT.replace("2s", "1ms"))
    assert run() == 3
    out = capsys.readouterr().out
    assert "✗ not feasible" in out
    assert "timeToFirstToken p95 1.0ms" in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_has_the_keys_of_the_status_and_the_verdict(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["feasible"] is True
    assert found["accelerator"] == "cpu"
    assert found["alternatives"] == []
    assert {"bindingConstraint", "summary", "revision", "maxNumSeqs", "predicted"} <= set(found)


@pytest.mark.parametrize(("most", "said"), [(1, True), (2, False)])
@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_a_plan_that_the_engine_cannot_run_is_marked(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    most: int,
    said: bool,
) -> None:
    limited = replace(ENGINE, max_tensor_parallel_size=most)
    monkeypatch.setattr("plimsoll_operator.plans.choice.ENGINE", limited)
    (folder / "nodes.yaml").write_text("[{accelerator: NVIDIA-L4, count: 2}]")
    (folder / "chat.yaml").write_text(CHAT + "  pin: {tensorParallelSize: 2}")
    # What the hardware can hold is the question; the exit code answers no other.
    assert run("-o", output) == 0
    out = capsys.readouterr().out
    if output == "table":
        assert max(map(len, out.splitlines())) <= 80
        assert ("cannot run" in out) == said
    else:
        found = json.loads(out) if output == "json" else yaml.safe_load(out)
        assert ("engineLimit" in found) == said
    assert ("needs tensorParallelSize 2" in " ".join(out.split())) == said


def test_a_measured_frontend_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "HTTP" not in capsys.readouterr().out
    (folder / "chat.yaml").write_text(CHAT + BEHIND)
    assert run("--explain") == 0
    out = capsys.readouterr().out
    assert "HTTP and delivery as measured: 7.61ms of CPU a request, 0.0837ms a token" in out
    assert max(map(len, out.splitlines())) <= 80
    # Of half a core.
    (line,) = (each for each in out.splitlines() if "time to first token" in each)
    assert float(line.split()[6].removesuffix("ms")) > 2 * 7.61


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_explained_it_says_what_the_planner_was_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    assert run("-o", output, "--explain") == 0
    asked = yaml.safe_load(capsys.readouterr().out)["request"]
    assert asked["objectives"] == {
        "ttft_p95": 2.0,
        "tpot_p95": None,
        "max_cost_per_million_tokens": None,
    }
    assert asked["inventory"][0]["memory_bytes"] == 8 * 2**30


def test_a_fault_of_our_own_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_operator.commands.plan.read_planned", lambda *_: 1 / 0)
    assert run() == 1
    assert "a fault of Plimsoll's own, ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.setenv("PLIMSOLL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run()


def test_a_model_that_the_engine_does_not_serve_is_planned_and_marked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixtral = {
        "architectures": ["MixtralForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "vocab_size": 100,
        "max_position_embeddings": 1024,
    }
    (folder / "config.json").write_text(json.dumps(mixtral))
    assert run("--model-config", ".") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "of them active" in out
    assert "cannot run the plan cpu" in out
    assert "does not serve: config.json: architectures ['MixtralForCausalLM']" in out
    assert run("--model-config", ".", "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert "supported: LlamaForCausalLM" in found["engineLimit"]
    assert found["feasible"] is True


DEAR = CHAT.replace("slo: {", 'slo: {maxCostPerMillionTokens: "0.01", ')
# With a bound on cost, since then fewer ways out are looked for.
SLOW = DEAR.replace("2s", "1ms").replace("0.01", "1000")
PRICED = INVENTORY.replace("8Gi", '8Gi, pricePerHour: "1"')


def test_tokens_that_nobody_gets_have_no_price(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = '  workload: {requestsPerSecond: "9000"}\n'
    (folder / "chat.yaml").write_text(SLOW.replace("1ms", "2s") + more)
    (folder / "nodes.yaml").write_text(PRICED)
    assert run() == 3
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "requests/s," in line]
    (planned,) = (row for row in rows if "planned" in row)
    assert planned == ["9000", "requests/s,", "planned", "-", "-", "-"]


@pytest.mark.parametrize(
    ("text", "nodes", "arguments", "code"),
    [
        (CHAT, PRICED, [], 0),
        (SLOW, PRICED, [], 3),
        (SLOW, PRICED, ["--fail-on", "cost"], 0),
        (SLOW, PRICED, ["--fail-on", "none"], 0),
        (DEAR, PRICED, [], 4),
        (DEAR, INVENTORY, ["--fail-on", "cost"], 4),  # whether it holds cannot be told
        (DEAR, PRICED, ["--fail-on", "slo"], 0),
        (DEAR + "---" + SLOW.replace("chat", "slow"), PRICED, ["--fail-on", "slo,cost"], 3),
        (DEAR.replace("2s", "1ms"), PRICED, [], 3),
    ],
)
def test_exit_code_of_what_was_asked_to_fail_on(
    folder: Path, text: str, nodes: str, arguments: list[str], code: int
) -> None:
    (folder / "chat.yaml").write_text(text)
    (folder / "nodes.yaml").write_text(nodes)
    assert run(*arguments) == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "price"], "'price': give none, or some of slo, cost"),
        (["--fail-on", "slo,restart"], "--fail-on restart: give --diff OLD NEW"),
    ],
)
def test_what_cannot_be_failed_on(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    try:
        code = run(*arguments)
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_every_exit_code_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert re.findall(r"^  (\d)  ", out, re.MULTILINE) == ["0", "2", "3", "4", "5", "6"]
    assert max(map(len, out.splitlines())) <= 100


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    code = (
        "import sys; from plimsoll_operator.commands.plan import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "-f", "chat.yaml", "--inventory", "nodes.yaml"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_unicode_gets_the_rest(folder: Path) -> None:
    code = (
        "import sys; from plimsoll_operator.commands.plan import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "-f", "chat.yaml", "--inventory", "nodes.yaml"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
    assert "? feasible" in done.stdout
