import json
from pathlib import Path

import pytest
import yaml

from plimsoll_operator.api.validate import parse_document
from plimsoll_operator.api.workload import TraceKeyRef
from plimsoll_operator.commands.trace import main
from plimsoll_operator.traces.named_trace import named_trace
from tests.unit.plimsoll_operator.traces.test_metrics_snapshot import snapshot

LINES = [
    {"t": 10.0, "prompt_tokens": 1000, "output_tokens": 10, "prefix_ids": [4, 5]},
    {"t": 11.0, "prompt_tokens": 600, "output_tokens": 30, "prefix_ids": [4, 9]},
    {"t": 12.0, "prompt_tokens": 800, "output_tokens": 20, "prefix_ids": [4, 5]},
    {"t": 12.5, "error": "too long"},
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    (tmp_path / "before.txt").write_text(snapshot(100))
    (tmp_path / "after.txt").write_text(snapshot(700))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"t": 0.0, "prompt_tokens": 1000, "output_tokens": 10, "prefix_ids": [0, 1]},
        {"t": 1.0, "prompt_tokens": 600, "output_tokens": 30, "prefix_ids": [0, 2]},
        {"t": 2.0, "prompt_tokens": 800, "output_tokens": 20, "prefix_ids": [0, 1]},
    ]
    assert err == "plimsoll trace: log.jsonl: 1 record without the tokens of an answer skipped\n"


def test_a_workload_is_one_that_a_resource_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log.jsonl", "-o", "workload"]) == 0
    out = capsys.readouterr().out
    assert "# 3 requests; 0.05 requests/s in the fullest minute; gaps vary by 0 times" in out
    assert "# 54.7% of prompt tokens are in blocks that came before" in out
    block = yaml.safe_load(out)
    assert block == {
        "workload": {
            "requestsPerSecond": "1",
            "promptTokens": {"mean": 800, "p95": 1000},
            "outputTokens": {"mean": 20, "p95": 30},
            "sharedPrefixTokens": 512,
        }
    }
    document = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "chat"},
        "spec": {"model": {"source": "builtin://tiny"}, **block},
    }
    assert parse_document(document)[1].workload.prompt_tokens.p95 == 1000


def test_two_snapshots(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["before.txt", "after.txt", "--interval", "1m", "-o", "workload"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# 600 requests that ended in 1m\n")
    assert yaml.safe_load(out)["workload"] == {
        "requestsPerSecond": "10",
        "promptTokens": {"mean": 120, "p95": 190},
        "outputTokens": {"mean": 20, "p95": 46},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.jsonl"], "gone.jsonl: cannot be read: No such file"),
        (["log.jsonl", "log.jsonl"], "2 traces: give one at a time"),
        (["before.txt", "after.txt"], "only -o workload"),
        (["before.txt", "after.txt", "-o", "workload"], "--interval DURATION is missing"),
        (["before.txt", "-o", "workload", "--interval", "soon"], "--interval: not a duration"),
        (["after.txt", "before.txt", "-o", "workload", "--interval", "1m"], "fewer requests"),
        (["before.txt"] * 3 + ["-o", "workload", "--interval", "1m"], "3 snapshots"),
        (["before.txt", "log.jsonl", "-o", "workload", "--interval", "1m"], "log.jsonl: "),
    ],
)
def test_bad_input_is_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("plimsoll trace: ")
    assert message in err
    assert err.count("\n") == 1


def test_requests_of_one_moment_are_no_workload(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "one.jsonl").write_text(json.dumps(LINES[0]))
    assert main(["one.jsonl", "-o", "workload"]) == 2
    assert "1 requests at one moment have no rate" in capsys.readouterr().err


def test_a_config_map_is_one_that_a_resource_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"t": i * 3, "prompt_tokens": 9, "output_tokens": 3, "user": "é: |"} for i in range(200)
    ]
    rows += [{"t": 700 + i, "prompt_tokens": i, "output_tokens": 3} for i in range(1, 101)]
    (folder / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    named = ["--name", "traffic", "-n", "ml", "--fullest", "100"]
    assert main(["long.jsonl", "-o", "configmap", *named]) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    assert made["metadata"] == {"name": "traffic", "namespace": "ml"}
    found = named_trace(made["data"], TraceKeyRef(name="traffic"), "ml")
    assert [each.prompt_tokens for each in found.arrivals] == list(range(1, 101))
    assert found.arrivals[0].at == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--name NAME is missing"),
        (["--name", "traffic"], "3 requests, fewer than 100"),
    ],
)
def test_a_config_map_that_cannot_be(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log.jsonl", "-o", "configmap", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--name", "Traffic"], ["--key", "a/b"], ["--fullest", "1"], ["-n", "-x"]]
)
def test_options_of_a_config_map_have_formats(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["log.jsonl", *options])
    assert caught.value.code == 2
    capsys.readouterr()
