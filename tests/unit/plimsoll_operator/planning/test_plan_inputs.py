"""What `plimsoll plan` reads, from files, folders and stdin, and how it tells what is wrong."""

import io
import json
from pathlib import Path

import pytest
import yaml

from plimsoll_operator.commands import plan
from tests.unit.plimsoll_operator.planning.plan_runs import CHAT, main, run
from tests.unit.plimsoll_operator.planning.test_plan_inventory import cpu_node


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


def test_a_folder_without_documents(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "deploy" / "prod").mkdir(parents=True)
    (folder / "chat.yaml").rename(folder / "deploy" / "prod" / "chat.yaml")
    assert main(["-f", "deploy", "--inventory", "nodes.yaml"]) == 2
    told = capsys.readouterr().err
    assert "deploy: no LLMDeployment in it: give the file, or the folder right above it" in told
    assert main(["-f", "deploy/prod", "--inventory", "nodes.yaml"]) == 0


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
