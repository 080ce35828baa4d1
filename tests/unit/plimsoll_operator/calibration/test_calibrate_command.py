"""`plimsoll calibrate` from measured steps to a resource."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
import yaml

from plimsoll_operator.calibration.steps import StepsError, parse_steps, poll, read_file
from plimsoll_operator.commands.calibrate import main
from plimsoll_operator.planning.accelerators import judge
from plimsoll_operator.planning.model_source import read_model_config
from plimsoll_planner.accelerators import find
from plimsoll_planner.calibration.fit import Sample
from plimsoll_planner.calibration.frontend_fit import WorkTime
from plimsoll_planner.calibration.frontend_work import Look, stretches
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.search.shape import Shape
from tests.unit.plimsoll_planner.worked import looked, worked


def answer(
    count: int, *, slowdown: float = 1.0, seed: int = 1, on: str = "cpu"
) -> dict[str, object]:
    """What /admin/steps would answer, of the built-in model on 2 cores or on a GPU."""
    found = find(on)
    assert found is not None
    wide = found.precisions[0]
    shape = Shape(found, found.name, wide, wide, 1, 2.0 if on == "cpu" else None)
    step = step_time(model_facts(read_model_config("builtin://tiny").model), shape)
    chance = random.Random(seed)
    steps = []
    for _ in range(count):
        sequences, prompt = chance.randint(1, 32), chance.choice((0, 0, 64, 400))
        context = sequences * chance.randint(20, 900) + prompt
        one = Sample(sequences + prompt, sequences, context, 0.0)
        seconds = step(one.tokens, one.sequences, one.context, one.pairs)
        seconds *= slowdown * chance.lognormvariate(0, 0.02)
        steps.append(
            {
                "num_tokens": one.tokens,
                "num_context_tokens": one.context,
                "num_seqs": one.sequences,
                "seconds": seconds,
            }
        )
    return {"num_steps": count, "steps": steps}


def test_pairs_are_those_that_the_engine_tells_or_guessed() -> None:
    step = {"num_tokens": 4, "num_seqs": 1, "num_context_tokens": 4, "seconds": 0.1}
    document = {"num_steps": 9, "steps": [{**step, "num_pairs": 7}, step]}
    total, (first, second), looks = parse_steps(json.dumps(document), "a test")
    assert (total, first.pairs, second.pairs, looks) == (9, 7, 10, ())


ARGUMENTS = ["--model", "builtin://tiny", "--accelerator", "cpu", "--cores", "2"]


def test_a_file_of_steps_becomes_a_resource(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(answer(200, slowdown=2.0)))
    assert main(["--steps", str(steps), *ARGUMENTS, "--engine", "plimsoll 0.1.0"]) == 0
    printed = capsys.readouterr().out
    resource = yaml.safe_load(printed)
    assert resource["kind"] == "Accelerator"
    assert resource["metadata"] == {"name": "cpu"}
    assert resource["spec"]["products"] == ["cpu"]
    # Twice as slow as the catalogue says: half its peaks, as far as so small a model tells.
    assert 190 <= float(resource["spec"]["compute"]["bf16"].removesuffix("G")) <= 230
    assert 9 <= float(resource["spec"]["bandwidth"].removesuffix("M")) / 1000 <= 17
    calibration = resource["spec"]["calibration"]
    # Attention is as much slower: about the same shares of these.
    assert 0.3 <= float(calibration["attentionEfficiency"]) <= 0.5
    assert 0.3 <= float(calibration["kvCacheEfficiency"]) <= 0.56
    assert 0.9 <= float(calibration["sequenceOverhead"].removesuffix("ms")) / 0.4 <= 1.1
    assert float(calibration["error"]) <= 0.03
    assert calibration["samples"] >= 190
    assert calibration["model"] == "builtin://tiny"
    assert calibration["engine"] == "plimsoll 0.1.0"
    assert "median error" in printed
    assert printed.startswith("# builtin://tiny on cpu×2")


def look_of(looks: Sequence[Look]) -> list[dict[str, float]]:
    """As the admin port tells them."""
    counts = ("num_requests", "num_prompt_tokens", "num_steps", "num_events", "num_tokens")
    return [dict(zip(("at", "cpu_seconds", *counts), each, strict=True)) for each in looks]


def test_what_the_server_did_becomes_its_frontend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps, told = tmp_path / "steps.json", answer(200)
    steps.write_text(json.dumps(told))
    assert main(["--steps", str(steps), *ARGUMENTS]) == 0
    before = capsys.readouterr().out
    assert "HTTP" not in before
    looks = look_of(looked(worked(WorkTime(2e-3, 2e-6, 1e-4, 8e-5, 4e-5, 0.01), 0.02)))
    steps.write_text(json.dumps({**told, "frontend": looks}))
    assert main(["--steps", str(steps), *ARGUMENTS]) == 0
    printed = capsys.readouterr().out
    resource, without = yaml.safe_load(printed), yaml.safe_load(before)
    frontend = resource["spec"]["calibration"].pop("frontend")
    without["spec"]["calibration"].pop("measuredAt")
    resource["spec"]["calibration"].pop("measuredAt")
    assert resource == without
    assert 1.8 <= float(frontend["request"].removesuffix("ms")) <= 2.2
    assert "# HTTP and delivery, in CPU time:" in printed
    assert "40 stretches of time" in printed
    # What it prints is what plans use.
    resource["spec"]["calibration"]["frontend"] = frontend
    used = judge("cpu", resource["spec"]).accelerator
    assert used is not None
    assert used.frontend is not None
    assert used.frontend.request == pytest.approx(2e-3, rel=0.1)
    # Too little of it is told, and all else as without.
    steps.write_text(json.dumps({**told, "frontend": looks[:9]}))
    assert main(["--steps", str(steps), *ARGUMENTS]) == 0
    printed = capsys.readouterr().out
    assert "not told:" in printed
    assert "8 stretches of time, 20 of each needed" in printed
    assert "frontend" not in yaml.safe_load(printed)["spec"]["calibration"]


def test_of_a_gpu_the_shares_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(answer(100, on="L4")))
    arguments = ["--steps", str(steps), "--model", "builtin://tiny", "--accelerator", "L4"]
    assert main([*arguments, "--name", "l4-of-ours"]) == 0
    resource = yaml.safe_load(capsys.readouterr().out)
    assert resource["metadata"]["name"] == "l4-of-ours"
    assert resource["spec"]["products"] == ["NVIDIA-L4"]
    assert 0 < float(resource["spec"]["calibration"]["error"]) <= 1


def test_too_few_steps_are_no_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(answer(3)))
    assert main(["--steps", str(steps), *ARGUMENTS]) == 1
    assert "3 steps measured, 30 needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--accelerator", "abacus"], "not in the catalogue"),
        (["--cores", "0"], "must be more than 0"),
        (["--tensor-parallel-size", "0"], "must be 1 or more"),
        (["--accelerator", "NVIDIA-L4"], "give it with --accelerator cpu"),
        (["--model", "pvc://weights"], "cannot be read out of a volume"),
    ],
)
def test_bad_input_is_told(
    change: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(answer(40)))
    assert main(["--steps", str(steps), *ARGUMENTS, *change]) == 2
    assert message in capsys.readouterr().err


LOOK = (
    '{"num_steps": 0, "steps": [], "frontend": [{"at": %s, "cpu_seconds": 1, "num_requests": 1, '
    '"num_prompt_tokens": 1, "num_steps": 1, "num_events": 1, "num_tokens": 1}]}'
)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"num_steps": 1, "steps": [{}]}', LOOK % "NaN", LOOK % "1e999", LOOK % "-1"],
)
def test_files_of_something_else_are_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    path.write_text(text)
    with pytest.raises(StepsError, match="not what GET /admin/steps answers"):
        read_file(path)
    with pytest.raises(StepsError, match="cannot be read"):
        read_file(tmp_path / "none.json")


LOOKS = looked(worked(WorkTime(1e-3, 0, 1e-4, 1e-4, 0, 0), count=100))


class Engine:
    """An admin port whose engine computes `rate` steps between two reads and keeps `kept`."""

    def __init__(self, rate: int, kept: int) -> None:
        self.rate, self.kept, self.done, self.now = rate, kept, kept, 0.0
        every = answer(500)["steps"]
        assert isinstance(every, list)
        self.steps = every

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/admin/steps"
        latest = self.steps[self.done - self.kept : self.done]
        looks = LOOKS[self.done // 10 : self.done // 10 + 5]
        answered = {"num_steps": self.done, "steps": latest, "frontend": look_of(looks)}
        self.done += self.rate
        return httpx.Response(200, json=answered)

    def poll(self, seconds: float) -> int:
        def sleep(duration: float) -> None:
            self.now += duration

        with httpx.Client(transport=httpx.MockTransport(self)) as client:
            found = poll(
                "http://engine:9090/", seconds, client=client, clock=lambda: self.now, sleep=sleep
            )
        assert len(set(found.looks)) == len(found.looks)
        assert len(stretches(found.looks)) == len(found.looks) - 1
        assert len({sample.seconds for sample in found.samples}) == len(found.samples)
        return len(found.samples)


def test_no_step_is_taken_twice() -> None:
    assert Engine(rate=10, kept=100).poll(0) == 100
    assert Engine(rate=10, kept=100).poll(5) == 100 + 5 * 10
    # Of more steps than the engine keeps, those that it kept.
    assert Engine(rate=60, kept=50).poll(3) == 50 + 3 * 50


def test_an_address_that_is_not_the_admin_port_is_told() -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(404))) as client,
        pytest.raises(StepsError, match="answers 404: give the address of the engine's admin port"),
    ):
        poll("http://engine:8000", 0, client=client)
