"""LLMDeployments with a draft model: planned as files, and the engine started with the plan."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from plimsoll_operator.api.validate import parse_spec
from plimsoll_operator.commands.plan import main
from plimsoll_operator.planning.model_source import read_model_config
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.plans.choice import inputs_hash
from plimsoll_operator.reports.plan_report import breakdown
from plimsoll_planner.inputs import AcceleratorPool, DraftModel, Pin
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.planner import plan
from plimsoll_runtime import builtin
from plimsoll_runtime.core.compressed_tensors import CompressedTensors
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.engine.draft_model import DraftModel as Proposer
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions

BUILTIN = {"source": "builtin://tiny"}
HUB = {
    "source": "hf://org/draft",
    "revision": "0123abc",
    "configFrom": {"configMapKeyRef": {"name": "draft"}},
}
POOLS = (AcceleratorPool("cpu", 2, 1, 8 * 2**30),)
TINY_CONFIG = json.loads((builtin.path("tiny") / "config.json").read_text())


def document(draft: dict[str, object] | None, method: str = "DraftModel") -> dict[str, object]:
    speculation: dict[str, object] = {"method": method}
    if draft is not None:
        speculation["draftModel"] = draft
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "chat"},
        "spec": {"model": {**BUILTIN, "maxContextLength": 1024}, "speculation": speculation},
    }


def config_map(**changes: object) -> dict[str, object]:
    text = json.dumps(TINY_CONFIG | changes)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "draft"},
        "data": {"config.json": text},
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nodes.yaml").write_text("[{accelerator: cpu, count: 2, nodes: 1, memory: 8Gi}]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(folder: Path, *documents: dict[str, object], output: str = "json") -> int:
    (folder / "chat.yaml").write_text(yaml.safe_dump_all(documents))
    return main(["-f", "chat.yaml", "--inventory", "nodes.yaml", "--requests", "0", "-o", output])


@pytest.mark.parametrize("documents", [(document(BUILTIN),), (document(HUB), config_map())])
def test_a_file_with_a_draft_model_is_planned(
    folder: Path, capsys: pytest.CaptureFixture[str], documents: tuple[dict[str, object], ...]
) -> None:
    assert planned(folder, *documents, output="table") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    assert "drafts 4 tokens ahead by a model of" in text
    assert "as if none were right" in text


def test_checking_slows_steps_and_a_draft_model_takes_memory_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for item in (document(None, "Disabled"), document(None, "NGram"), document(BUILTIN)):
        assert planned(folder, item) == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, looked_up, _ = found
    assert len({item["inputs"] for item in found}) == 3
    assert looked_up["maxNumSeqs"] < plain["maxNumSeqs"]
    pin = {"maxNumSeqs": 8, "maxNumBatchedTokens": 256}
    sizes = []
    for item in (document(None, "Disabled"), document(None, "NGram"), document(BUILTIN)):
        spec = item["spec"]
        assert isinstance(spec, dict)
        assert planned(folder, {**item, "spec": {**spec, "pin": pin}}) == 0
        sizes.append(json.loads(capsys.readouterr().out)["memoryBytes"])
    # Checking a draft takes a row of logits, a draft model its weights and its cache.
    assert sizes == sorted(set(sizes))
    assert planned(folder, document(None, "NGram"), output="table") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "drafts 4 tokens ahead looked up in the text, in steps of at most 8" in text


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (
            (document(HUB), config_map(vocab_size=97)),
            "spec.speculation.draftModel has a vocabulary of 97 tokens and the model one of 2048",
        ),
        (
            (document(HUB), config_map(num_hidden_layers=7)),
            "of the model that it drafts for, and would only slow it down: take a smaller one",
        ),
        (
            (document(HUB),),
            "spec.speculation.draftModel.source: the ConfigMap default/draft with the key "
            "config.json is not among the documents given: add it to them",
        ),
        ((document({"source": "builtin://none"}),), "builtin://none: no such model ships"),
    ],
)
def test_a_model_that_cannot_draft_is_told_in_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    documents: tuple[dict[str, object], ...],
    said: str,
) -> None:
    assert planned(folder, *documents) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert "chat.yaml" in error


def test_a_draft_model_that_the_engine_cannot_run_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = config_map(architectures=["Phi3ForCausalLM"], num_hidden_layers=3)
    assert planned(folder, document(HUB), foreign) == 0
    assert "the draft model: " in json.loads(capsys.readouterr().out)["engineLimit"]


def test_plans_that_stand_keep_their_hash() -> None:
    tiny = read_model_config("builtin://tiny").model
    request = plan_request(parse_spec({"model": BUILTIN}), tiny, POOLS)
    assert "draft" not in repr(request)
    three, four = (
        inputs_hash(replace(request, draft=DraftModel(tiny, count, 8))) for count in (3, 4)
    )
    staged = inputs_hash(replace(request, pin=Pin(pipeline_parallel_size=2)))
    read = CompressedTensors(weight_only=True, head=False)
    int8 = inputs_hash(replace(request, model=replace(request.model, compressed=read)))
    assert len({inputs_hash(request), three, four, staged, int8}) == 5
    # What every request has now, and those of plans that stand had not.
    assert inputs_hash(replace(request, engine=None)) == inputs_hash(request)
    assert "pipeline" not in repr(request)


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Engine]]:
    started: list[Engine] = []
    yield started
    for engine in started:
        engine.stop()


def test_the_engine_takes_the_memory_that_was_planned(engines: list[Engine]) -> None:
    """It, and not a formula, says how many blocks the planned bytes are."""
    spec = parse_spec(
        {"model": BUILTIN, "speculation": {"method": "DraftModel", "draftModel": BUILTIN}}
    )
    tiny = read_model_config("builtin://tiny").model
    request = plan_request(spec, tiny, POOLS, draft=tiny)
    found = plan(request).plan
    assert found is not None
    options = EngineOptions(
        dtype={"FP32": "float32", "BF16": "bfloat16"}[found.weights_precision],
        device="cpu",
        threads=1,
        max_model_len=found.max_model_len,
        max_num_seqs=found.max_num_seqs,
        max_num_batched_tokens=found.max_num_batched_tokens,
        kv_cache_memory_bytes=found.kv_cache_bytes,
        speculative_config=SpeculativeConfig(
            SpeculativeMethod.DRAFT_MODEL,
            4,
            model=str(builtin.path("tiny")),
            disable_by_batch_size=8,
        ),
    )
    engine = load_engine(builtin.path("tiny"), options)
    engines.append(engine)
    blocks = engine.limits.num_blocks
    assert blocks * engine.limits.block_size == found.kv_cache_tokens
    runner = engine._runner
    proposer = runner._drafter._proposer
    assert isinstance(proposer, Proposer)
    caches = [each.cache.pages for each in (runner, proposer._runner)]
    held = sum(pages.nbytes * blocks // (blocks + 1) for pages in caches)
    assert held == found.kv_cache_bytes
    weights = sum(parameter_bytes(each.model) for each in (runner, proposer._runner))
    parts = breakdown(found, model_facts(tiny), draft=request.draft)
    assert parts.weights == weights
    assert parts.total == found.memory_bytes


def parameter_bytes(model: torch.nn.Module) -> int:
    return sum(each.nbytes for each in model.parameters())
