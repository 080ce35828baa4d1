"""What the planner says a replica on `cpu` holds, against what an engine then allocates."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.planning.model_source import read_model_directory
from plimsoll_operator.planning.status import plan_status
from plimsoll_operator.render.engine import arguments
from plimsoll_operator.render.model_mount import ModelMount
from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import (
    AcceleratorPool,
    Lengths,
    Objectives,
    Pin,
    PlanRequest,
    Workload,
)
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.performance.memory import BLOCK_SIZE, without_kv_cache
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Plan, PlanResult
from plimsoll_planner.search.shape import Shape
from plimsoll_runtime import builtin
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.model.matrix import PackedMatrix
from plimsoll_runtime.model.packed_int8 import Int8Matrix, WidenedInt8Matrix
from plimsoll_runtime.server.command import parser
from plimsoll_runtime.server.engine_options import engine_options
from tests.unit.plimsoll_runtime.model.compressed_checkpoint import W8A8, changed, write

pytestmark = pytest.mark.timeout(120)

NODE = AcceleratorPool("cpu", 8, 1, 16 * 2**30)
COMPRESSED = Path(__file__).parents[2] / "data" / "compressed_tensors"
TINY = Path(builtin.__file__).parent / "tiny"


def random_model(folder: Path, seed: int) -> Path:
    """Shapes that differ in whatever the KV cache and the weights depend on."""
    rng = random.Random(seed)
    kv_heads, groups = rng.choice([1, 2, 3, 4]), rng.choice([1, 2, 4])
    config = LlamaConfig(
        hidden_size=16 * rng.randint(1, 6),
        intermediate_size=rng.randint(1, 90),
        num_hidden_layers=rng.randint(1, 5),
        num_attention_heads=kv_heads * groups,
        num_key_value_heads=kv_heads,
        head_dim=2 * rng.randint(2, 24),
        vocab_size=rng.randint(50, 900),
        max_position_embeddings=rng.choice([128, 500, 2048]),
        tie_word_embeddings=rng.random() < 0.5,
        attention_bias=rng.random() < 0.5,
        mlp_bias=rng.random() < 0.5,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def planned(folder: Path, precision: str, size: int, kv_cache: str) -> Plan:
    """A plan for ordinary traffic."""
    request = PlanRequest(
        model=read_model_directory(folder).model,
        workload=Workload(2.0, Lengths(60, 120), Lengths(40, 80)),
        objectives=Objectives(ttft_p95=2.0, tpot_p95=0.1),
        inventory=(NODE,),
        weights_precision=precision,
        kv_cache_precision=kv_cache,
        max_replicas=8,
        pin=Pin(tensor_parallel_size=None if size == 1 else size),
    )
    found = plan(request).plan
    assert found is not None
    return found


@contextmanager
def engine_of(folder: Path, found: Plan) -> Iterator[Engine]:
    """The engine that the operator's command line makes for that plan."""
    status = plan_status(PlanResult(feasible=True, plan=found, binding_constraint=""))
    assert status is not None
    spec = LLMDeploymentSpec.model_validate({"model": {"source": "pvc://models/random"}})
    mount = ModelMount(str(folder), (), (), 60, downloads=())
    words = arguments("random", spec, status, mount)
    engine = load_engine(folder, engine_options(parser().parse_args(words[1:])))
    try:
        yield engine
    finally:
        engine.stop()


def filled_up(module: torch.nn.Module) -> int:
    """Bytes of zeros in a weight's panels."""
    if isinstance(module, PackedMatrix):
        return module.panels.nbytes - module.outputs * module.inputs * module.dtype.itemsize
    if isinstance(module, Int8Matrix | WidenedInt8Matrix):
        totals = 0 if module.totals is None else module.totals.nbytes
        of_outputs = (module.scales.nbytes + totals) // len(module.scales)
        held = module.panels.nbytes + module.scales.nbytes + totals
        return held - module.outputs * (module.inputs + of_outputs)
    return 0


def check(
    folder: Path, precision: str, size: int, kv_cache: str = "Auto", asked: str | None = None
) -> None:
    """As many tokens as planned, in as many bytes and one block of zeros; weights to the byte."""
    found = planned(folder, asked or precision, size, kv_cache)
    assert found.weights_precision == precision
    facts = model_facts(read_model_directory(folder).model)
    cpu = find("cpu")
    assert cpu is not None
    shape = Shape(cpu, "cpu", precision, found.kv_cache_precision, size, found.cpu_cores)
    base = without_kv_cache(facts, shape, found.max_num_batched_tokens, found.max_num_seqs)
    with engine_of(folder, found) as engine:
        runner = engine._runner
        assert isinstance(runner, ModelRunner)
        limits, cached = engine.limits, runner.cache.nbytes
        assert (runner.cache.scales is not None) == (found.kv_cache_precision == "INT8")
        assert limits.num_blocks * limits.block_size == found.kv_cache_tokens
        assert limits.max_model_len <= found.kv_cache_tokens
        block = found.kv_cache_bytes // limits.num_blocks
        assert found.kv_cache_bytes == limits.num_blocks * block
        assert limits.block_size == BLOCK_SIZE
        assert cached == found.kv_cache_bytes + block
        # Panels are filled up with zeros, which real models' sizes need none of.
        filling = sum(map(filled_up, runner.model.modules()))
        held = sum(each.nbytes for each in runner.model.parameters()) - filling
        assert held <= base.weights <= held * 1.01
        kept = sum(each.nbytes for each in runner.model.buffers())
        assert block + kept + filling < base.reserve / 10
        assert size * (held + filling + kept + cached) < found.memory_bytes


@pytest.mark.parametrize("precision", ["FP32", "BF16"])
@pytest.mark.parametrize("seed", range(6))
def test_random_models(tmp_path: Path, seed: int, precision: str) -> None:
    check(random_model(tmp_path, seed), precision, 1)


@pytest.mark.parametrize("seed", range(3))
def test_random_models_with_a_cache_in_int8(tmp_path: Path, seed: int) -> None:
    check(random_model(tmp_path, seed), ("FP32", "BF16")[seed % 2], 1, "INT8")


@pytest.mark.parametrize("seed", range(4))
def test_random_models_made_int8_when_they_are_loaded(tmp_path: Path, seed: int) -> None:
    check(random_model(tmp_path, seed), "INT8", 1, ("Auto", "INT8")[seed // 2])


@pytest.mark.parametrize("variant", ["w8a8", "w8a16", "w8a16_tensor_head"])
def test_checkpoints_that_are_int8_already(variant: str) -> None:
    check(COMPRESSED / variant, "INT8", 1, asked="Auto")


@pytest.mark.parametrize(
    "activations", [W8A8["config_groups"]["group_0"]["input_activations"], None]
)
def test_each_of_two_ranks_of_one_that_is_int8_already(
    tmp_path: Path, activations: dict[str, object] | None
) -> None:
    write(TINY, tmp_path / "int8", changed("group.input_activations", activations))
    check(tmp_path / "int8", "INT8", 2, asked="Auto")


@pytest.mark.parametrize("seed", range(4))
def test_random_models_that_are_published_in_int8(tmp_path: Path, seed: int) -> None:
    quantization = changed("ignore", ["lm_head"] if seed < 2 else [])
    if seed % 2:
        quantization["config_groups"]["group_0"]["input_activations"] = None
    write(random_model(tmp_path / "plain", seed), tmp_path / "int8", quantization)
    check(tmp_path / "int8", "INT8", 1, ("Auto", "INT8")[seed // 2], asked="Auto")


@pytest.mark.parametrize("precision", ["FP32", "BF16", "INT8"])
def test_the_model_that_ships(precision: str) -> None:
    check(TINY, precision, 1)


@pytest.mark.parametrize("kv_cache", ["Auto", "INT8"])
@pytest.mark.parametrize("precision", ["FP32", "INT8"])
def test_each_of_two_ranks(precision: str, kv_cache: str) -> None:
    check(TINY, precision, 2, kv_cache)
