import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from plimsoll_operator.commands import plan
from plimsoll_operator.engine_support import ENGINE
from tests.unit.plimsoll_operator.planning.test_plan_inventory import cpu_node

CHAT = """
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {source: builtin://tiny, maxContextLength: 1024}
  slo: {timeToFirstToken: {p95: 2s}}
"""
INVENTORY = "[{accelerator: cpu, count: 2, nodes: 1, memory: 8Gi}]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chat.yaml").write_text(CHAT)
    (tmp_path / "nodes.yaml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(arguments: list[str]) -> int:
    """Without simulations, for speed."""
    return plan.main(["--requests", "0", *arguments])


def run(*more: str) -> int:
    return main(["-f", "chat.yaml", "--inventory", "nodes.yaml", *more])


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
    monkeypatch.setattr("plimsoll_operator.standing.ENGINE", limited)
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


def test_several_documents_and_other_kinds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---"
    (folder / "chat.yaml").write_text(CHAT + other + CHAT.replace("chat", "talk"))
    assert run("-o", "json") == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == ["chat", "talk"]
    assert run("-o", "yaml") == 0
    assert len(list(yaml.safe_load_all(capsys.readouterr().out))) == 2


def test_stdin_and_kubectls_list_of_nodes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = {"apiVersion": "v1", "kind": "List", "items": [cpu_node()]}
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(nodes)))
    assert main(["-f", "chat.yaml", "--inventory", "-"]) == 0


def test_the_config_of_a_volume_comes_from_a_config_map_beside_it(folder: Path) -> None:
    volume = CHAT.replace(
        "builtin://tiny", "'pvc://claim', configFrom: {configMapKeyRef: {name: facts}}"
    )
    text = (Path(__file__).parents[4] / "tests/golden/plan/llama-3.1-8b/config.json").read_text()
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "facts"},
        "data": {"config.json": text},
    }
    (folder / "nodes.yaml").write_text("[{accelerator: H200, count: 1}]")
    (folder / "chat.yaml").write_text(volume)
    assert run() == 2
    (folder / "chat.yaml").write_text(volume + "---\n" + yaml.safe_dump(config_map))
    assert run() == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "chat.yaml",
            CHAT + "  scaling: {minReplicas: 3}",
            "chat.yaml:8: spec.scaling.maxReplicas: 1: ",
        ),
        (
            "chat.yaml",
            CHAT.replace("2s", "soon"),
            "chat.yaml:7: spec.slo.timeToFirstToken.p95: 'soon': ",
        ),
        ("chat.yaml", CHAT.replace("tiny", "huge"), "builtin://huge: no such model ships"),
        ("chat.yaml", "{", "chat.yaml:1: neither YAML nor JSON"),
        ("chat.yaml", "", "chat.yaml: no LLMDeployment in it"),
        ("chat.yaml", "just words", "chat.yaml:1: document: must be an object"),
        ("nodes.yaml", "words", "nodes.yaml: neither nodes nor a list"),
        ("nodes.yaml", "[{accelerator: L4, count: -1}]", "nodes.yaml: [0].count: -1"),
        (
            "nodes.yaml",
            "{kind: Node, status: {allocatable: {cpu: 1, memory: 1Gi}, conditions: [1]}}",
            "nodes.yaml: not nodes",
        ),
        (
            "nodes.yaml",
            "{kind: Node, spec: {taints: 1}, status: {allocatable: {cpu: 1, memory: 1Gi}}}",
            "nodes.yaml: not nodes",
        ),
    ],
)
def test_bad_input_is_2_and_one_clear_line(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    (folder / name).write_text(text)
    assert run() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("plimsoll plan: ")
    assert said in captured.err


def test_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-f", "absent.yaml", "--inventory", "nodes.yaml"]) == 2
    assert "absent.yaml: cannot be read: No such file" in capsys.readouterr().err


def test_both_from_stdin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-f", "-", "--inventory", "-"]) == 2
    assert "only one input can be stdin" in capsys.readouterr().err


def test_files_folders_and_what_is_none_of_ours(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = folder / "deploy"
    deploy.mkdir()
    (deploy / "kustomization.yaml").write_text("resources: [talk.yaml]")
    (deploy / "talk.yml").write_text(CHAT.replace("chat", "talk"))
    (deploy / "notes.txt").write_text("{")
    assert main(["-f", "chat.yaml", "deploy", "--inventory", "nodes.yaml", "-o", "json"]) == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == ["chat", "talk"]
    assert main(["-f", "chat.yaml", "-f", "deploy", "--inventory", "nodes.yaml"]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 cpu taken" in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_kustomize_builds_comes_over_stdin(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n---" + CHAT
    monkeypatch.setattr("sys.stdin", io.StringIO(built))
    assert main(["-f", "-", "--inventory", "nodes.yaml"]) == 0
    assert "✓ feasible" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(built.replace("2s", "soon")))
    assert main(["-f", "-", "--inventory", "nodes.yaml"]) == 2
    assert "stdin:10: spec.slo.timeToFirstToken.p95: 'soon'" in capsys.readouterr().err


def test_the_same_name_twice_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "again.yaml").write_text("---\n" + CHAT)
    assert main(["-f", "chat.yaml", "again.yaml", "--inventory", "nodes.yaml"]) == 2
    said = "again.yaml:5: metadata.name: chat is declared at chat.yaml:4 already"
    assert said in capsys.readouterr().err


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
        (["--fail-on", "restart"], "give --diff OLD NEW"),
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


ACCELERATOR = """
apiVersion: plimsoll.dev/v1alpha1
kind: Accelerator
metadata: {name: cpu}
spec: {products: [cpu], pricePerHour: "0.03"}
---
apiVersion: somebody.else/v1
kind: Accelerator
spec: what it will
"""


def test_accelerators_beside_it_are_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "chat.yaml").write_text(f"{ACCELERATOR}---{CHAT}")
    assert run("-o", "json") == 0
    assert "costPerMillionTokens" in json.loads(capsys.readouterr().out)["predicted"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("0.03", "0,03"), "Accelerator cpu: spec.pricePerHour: '0,03': must be a decimal number"),
        (
            ("[cpu]", "[Acme-X1]"),
            "Accelerator cpu: Acme-X1 is not in the catalogue, so spec.memory",
        ),
        (("{name: cpu}", "{}"), "an Accelerator without metadata.name: give it one"),
    ],
)
def test_accelerators_that_cannot_be_used_are_bad_input(
    folder: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], words: str
) -> None:
    (folder / "chat.yaml").write_text(f"{ACCELERATOR.replace(*change)}---{CHAT}")
    assert run() == 2
    assert words in capsys.readouterr().err


TRACE = "".join(
    json.dumps({"t": i / 2, "prompt_tokens": 100, "output_tokens": 10}) + "\n" for i in range(100)
)
TRACED = CHAT + "  workload: {trace: {configMapKeyRef: {name: traffic}}}\n"


def config_map(**more: object) -> str:
    metadata = {"name": "traffic", **more}
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return yaml.safe_dump({**content, "data": {"trace.jsonl": TRACE}})


def test_a_trace_is_found_among_the_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "chat.yaml").write_text(TRACED)
    assert run() == 2
    assert capsys.readouterr().err == (
        "plimsoll plan: chat.yaml:8: spec.workload.trace: the ConfigMap default/traffic with the "
        "key trace.jsonl is not among the documents given: add it to them, as plimsoll trace FILE "
        "-o configmap --name traffic prints it\n"
    )
    (folder / "traffic.yaml").write_text(config_map())
    assert plan.main(["--requests", "50", "-f", ".", "--inventory", "nodes.yaml", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "100 replayed requests" in out
    said = " ".join(out.split())
    assert "2 requests/s, prompts mean 100 p95 100, outputs mean 10 p95 10 tokens; of a" in said
    assert "trace of 100 requests in 49.5s, hash" in said


def test_a_trace_on_stdin_is_of_its_own_namespace(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = f"{TRACED}---\n{config_map(namespace='other')}"
    monkeypatch.setattr("sys.stdin", io.StringIO(built))
    assert main(["-f", "-", "--inventory", "nodes.yaml"]) == 2
    assert "the ConfigMap default/traffic" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TRACED}---\n{config_map()}"))
    assert main(["-f", "-", "--inventory", "nodes.yaml", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trace"]["requests"], found["trace"]["requestsPerSecond"]) == (100, "2")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TRACED}---\n{config_map()}"))
    assert main(["-f", "-", "--inventory", "nodes.yaml", "-o", "json", "--explain"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert explained["request"]["workload"]["trace"] == found["trace"]["hash"]


def test_a_bad_line_of_a_trace_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "chat.yaml").write_text(f"{TRACED}---\n{config_map()}".replace("49.5", "soon"))
    assert run() == 2
    told = capsys.readouterr().err
    assert "ConfigMap traffic, key trace.jsonl:100: not JSON" in told
