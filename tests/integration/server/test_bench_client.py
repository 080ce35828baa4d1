"""`plimsoll bench` against our own server: what it says is what the server counts."""

import json
from pathlib import Path

import pytest

from plimsoll_bench.command import main
from plimsoll_bench.dialect import Dialect
from plimsoll_bench.driver import Asking, drive
from plimsoll_bench.exchange import Target
from plimsoll_bench.figures import Objectives, figures
from plimsoll_bench.result import Result, load
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.workloads import poisson
from plimsoll_runtime import builtin
from tests.integration.server.conftest import ServerProcess

COUNTED = {
    "requests": "vllm:time_to_first_token_seconds_count",
    "ttft": "vllm:time_to_first_token_seconds_sum",
    "e2e": "vllm:e2e_request_latency_seconds_sum",
    "prompts": "vllm:prompt_tokens_total",
    "outputs": "vllm:generation_tokens_total",
    "gaps": "vllm:inter_token_latency_seconds_count",
}
TRACE = [(0.0, 40, 6), (0.05, 60, 9), (0.05, 60, 1), (0.1, 20, 12)]


def bench(server: ServerProcess, folder: Path, name: str) -> tuple[int, Result]:
    trace, saved = folder / "few.jsonl", folder / f"{name}.json"
    rows = [{"t": t, "prompt_tokens": p, "output_tokens": o} for t, p, o in TRACE]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--trace", str(trace), "--token-ids", "300:2000", "--repetitions", "1"]
    goals = ["--ttft", "60s", "--tpot", "60s", "--label", name]
    code = main([server.url, *options, *goals, "--save", str(saved)])
    return code, load(saved)


def counts(server: ServerProcess) -> dict[str, float]:
    return {name: server.metric(metric) for name, metric in COUNTED.items()}


async def test_what_is_said_is_what_the_server_counts(tiny: ServerProcess) -> None:
    load = poisson(20.0, 1, requests=4)
    asking = Asking(Target.of(tiny.url), "tiny", Dialect(), TokenRange(300, 2000), 60.0)
    before = counts(tiny)
    driven = await drive(load, asking)
    new = {name: value - before[name] for name, value in counts(tiny).items()}
    found = figures(driven.records, Objectives(60.0, 60.0))
    assert found.failures == {}
    assert found.good_share == 1.0
    asked = sum(each.output_tokens for each in load.requests)
    assert new["requests"] == found.requests == 4
    assert new["prompts"] == found.prompt_tokens == sum(r.prompt_tokens for r in load.requests)
    assert new["outputs"] == found.output_tokens == asked
    assert new["gaps"] == asked - 4
    assert found.ttft is not None
    assert found.e2e is not None
    # The client sees what the server does, and besides HTTP and its own turn on busy cores.
    for seen, server in ((found.ttft.mean * 4, new["ttft"]), (found.e2e.mean * 4, new["e2e"])):
        assert server < seen < server + 4 * 1.0


def test_the_command(
    tiny: ServerProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = bench(tiny, tmp_path, "first")
    (run,) = found.runs
    assert code == 0
    assert found.dialect == "/v1/completions, prompts as token ids"
    assert run.figures.output_tokens == 28
    assert all(each.startswith("ids:") for each in run.answers)
    assert "4 requests in" in capsys.readouterr().out


def test_greedy_answers_are_the_same_again(tiny: ServerProcess, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert bench(tiny, tmp_path, name)[0] == 0
    files = [str(tmp_path / f"{name}.json") for name in ("first", "second")]
    assert main(["compare", "--equal-answers", *files]) == 0


def test_a_closed_loop_over_the_chat_api(tiny: ServerProcess, tmp_path: Path) -> None:
    saved, model = tmp_path / "chat.json", builtin.path("tiny")
    options = ["--workload", "W5", "--arrivals", "closed", "--concurrency", "2", "--requests", "3"]
    options += ["--api", "chat", "--tokenizer", str(model), "--token-ids", "300:400"]
    code = main([tiny.url, *options, "--repetitions", "1", "--save", str(saved)])
    (run,) = load(saved).runs
    assert code == 0, run.reasons
    assert run.concurrency == 2
    assert run.figures.failed == 0
