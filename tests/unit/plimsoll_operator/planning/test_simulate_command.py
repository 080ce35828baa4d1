import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from plimsoll_operator.commands.simulate import main

CHAT = """
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {source: builtin://tiny, maxContextLength: 1024}
  workload:
    requestsPerSecond: "4"
    promptTokens: {mean: 64, p95: 128}
    outputTokens: {mean: 16, p95: 32}
  slo: {timeToFirstToken: {p95: 1s}}
  pin: {maxNumSeqs: 8, maxNumBatchedTokens: 256}
"""
INVENTORY = "[{accelerator: cpu, count: 2, nodes: 1, memory: 8Gi}]"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chat.yaml").write_text(CHAT)
    (tmp_path / "nodes.yaml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*more: str) -> int:
    return main(["-f", "chat.yaml", "--inventory", "nodes.yaml", "--requests", "60", *more])


def test_a_table_of_percentiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "time to first token" in out
    assert "1000ms ✓" in out
    assert "4 requests/s, Poisson; prompts of 64 tokens (p95 128), answers of 16 (32)" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_promise_that_breaks_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--rate", "500", "--requests", "300") == 3
    assert "1000ms ✗" in capsys.readouterr().out


def test_json_and_yaml_hold_the_same_and_every_time_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs = []
    for form in ("json", "json", "yaml"):
        assert run("-o", form, "--rates", "2,4,8,16", "--seed", "3") == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0])
    assert found == yaml.safe_load(outputs[2])
    assert found["objectivesHold"] is True
    assert found["ttft"]["p95"] >= found["ttft"]["p50"] > 0
    assert [point["requestsPerSecond"] for point in found["curve"]] == [2, 4, 8, 16]
    assert set(found["itl"]) == {"p50", "p90", "p95", "p99"}
    assert found["sustained"] == 16
    assert found["capacity"] > 16


def test_what_kustomize_prints_and_files_together(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CHAT.replace("name: chat", "name: other")
    service = "{apiVersion: v1, kind: Service, metadata: {name: s}}"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{service}\n---{other}"))
    assert run("-f", "-", "-") == 2
    assert "only one input can be stdin" in capsys.readouterr().err
    assert run("-o", "json", "-f", "-") == 0
    both = json.loads(capsys.readouterr().out)
    assert [found["name"] for found in both] == ["chat", "other"]
    assert run("-f", "-", "--trace", "-") == 2
    assert "only one input can be stdin" in capsys.readouterr().err


def test_another_seed_is_another_sample(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for seed in ("1", "2"):
        assert run("-o", "json", "--seed", seed) == 0
        found.append(json.loads(capsys.readouterr().out)["ttft"]["mean"])
    assert found[0] != found[1]


def test_a_trace_is_replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"t": n / 2, "prompt_tokens": 50, "output_tokens": 5}) for n in range(60)]
    (folder / "trace.jsonl").write_text("\n".join(lines))
    assert run("--trace", "trace.jsonl") == 0
    assert "2 requests/s of a trace of 60 requests\n" in capsys.readouterr().out
    assert run("--trace", "trace.jsonl", "--rate", "4", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["offered"] == pytest.approx(4)


def test_a_plot_shows_the_curve_and_the_promise(folder: Path) -> None:
    assert run("--plot", "load.svg") == 0
    root = ET.fromstring((folder / "load.svg").read_text())  # noqa: S314
    tag = "{http://www.w3.org/2000/svg}"
    words = [each.text or "" for each in root.iter(f"{tag}text")]
    assert "promised p95 1000ms" in words
    assert {"knee", "declared load", "Time to first token", "requests per second"} <= set(words)
    curves = list(root.iter(f"{tag}polyline"))
    assert len(curves) == 4
    assert all(len(curve.attrib["points"].split()) >= 10 for curve in curves)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "gone"], "gone: cannot be read"),
        (["--plot", "no/such/folder.svg"], "no/such/folder.svg: cannot be written"),
        (["--plot", "no/such/folder.png"], "no/such/folder.png: cannot be written"),
        (["--trace", "nodes.yaml"], "nodes.yaml:1: not JSON"),
    ],
)
def test_bad_input_is_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_several_deployments_make_no_one_picture(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "chat.yaml").write_text(CHAT + "---" + CHAT.replace("name: chat", "name: other"))
    assert run("-o", "json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["chat", "other"]
    assert run("--plot", "load.svg", "--requests", "20") == 2
    assert "--plot draws one deployment, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "--rate: '0' is not a number above 0, up to 1000000"),
        (["--rate", "nan"], "--rate: 'nan' is not a number above 0, up to 1000000"),
        (["--rates", "1,x"], "--rates: 'x' is not a number above 0, up to 1000000"),
        (["--rate", "1", "--rates", "1"], "--rates: not allowed with argument --rate"),
        (["--requests", "0"], "--requests: '0' is not a whole number, 1 to 1000000"),
        (["--requests", "9999999"], "--requests: '9999999' is not a whole number"),
        (["--replicas", "-1"], "--replicas: '-1' is not a whole number, 1 to"),
        (["--seed", "x"], "--seed: 'x' is not a whole number"),
        (["--routing", "magic"], "--routing: 'magic': give one of random, least-loaded"),
        (["--gap-cv", "-1"], "--gap-cv: '-1' is not a number from 0 up to 100"),
    ],
)
def test_options_out_of_range_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error


def test_the_trace_that_the_spec_names_is_replayed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"t": i / 2, "prompt_tokens": 100, "output_tokens": 10} for i in range(100)]
    text = "\n".join(map(json.dumps, rows))
    traffic = {"metadata": {"name": "traffic"}, "data": {"trace.jsonl": text}}
    named = {"trace": {"configMapKeyRef": {"name": "traffic"}}, "requestsPerSecond": "4"}
    chat = yaml.safe_load(CHAT)
    chat["spec"]["workload"] = named
    documents = [chat, {"apiVersion": "v1", "kind": "ConfigMap", **traffic}]
    (folder / "chat.yaml").write_text(yaml.safe_dump_all(documents))
    assert run() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "4 requests/s of a trace of 100 requests, its time stretched by 0.5" in said
