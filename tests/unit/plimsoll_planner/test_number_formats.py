"""Bytes of weights in each number format."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from plimsoll_planner.model_facts import CHECKPOINT, model_facts
from plimsoll_planner.models.fields import Fields
from plimsoll_planner.models.formats import FORMATS, Format
from plimsoll_planner.models.gguf import MIXTURES
from plimsoll_planner.models.quantization import checkpoint_format, engine_scheme
from plimsoll_planner.models.reader import read_model
from plimsoll_planner.models.weights import Matrix, Part
from plimsoll_runtime.core.compressed_tensors import CompressedTensors
from tests.unit.plimsoll_planner.published import DATA, NAMES, facts

SQUARE = Matrix("up", Part.MLP, 4096, 4096)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("FP32", 4 * 4096**2),
        ("BF16", 2 * 4096**2),
        ("FP16", 2 * 4096**2),
        ("FP8", 4096**2 + 4096 * 4),
        ("INT8", 4096**2 + 4096 * 4),
        # Half a byte a weight; for each of 4096 × 32 groups a scale of 16 and a zero of 4 bits.
        ("INT4", 4096**2 // 2 + 4096 * 32 * 20 // 8),
        ("MXFP4", 4096**2 // 2 + 4096 * 128),
        ("NVFP4", 4096**2 // 2 + 4096 * 256),
    ],
)
def test_bytes_of_a_matrix(name: str, size: int) -> None:
    assert FORMATS[name].bytes_of(SQUARE) == size


@pytest.mark.parametrize("part", [Part.EMBEDDING, Part.HEAD, Part.ROUTER, Part.VECTOR])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "FP32"])
def test_what_is_no_layers_matrix_stays_in_16_bits(name: str, part: Part) -> None:
    assert FORMATS[name].bytes_of(Matrix("x", part, 100, 33)) == 6600


def test_blocks_at_the_edge_have_a_scale_too() -> None:
    blocks = Format("FP8", 8, 32, 128, 128)
    assert blocks.bytes_of(Matrix("up", Part.MLP, 129, 200, 3)) == 3 * (129 * 200 + 2 * 2 * 4)


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 64),
)
def test_fewer_bits_never_take_more(name: str, rows: int, columns: int, count: int) -> None:
    matrix = Matrix("up", Part.EXPERT, rows, columns, count)
    form = FORMATS[name]
    size = form.bytes_of(matrix)
    assert size >= matrix.parameters * form.bits / 8
    assert size == count * form.bytes_of(Matrix("up", Part.EXPERT, rows, columns))


@pytest.mark.parametrize("name", NAMES)
def test_formats_are_ordered_for_every_model(name: str) -> None:
    of = facts(name)
    sizes = [of.weights_bytes(each) for each in ("INT4", "FP8", "BF16", "FP32")]
    assert sizes == sorted(sizes)
    mixtures = [of.weights_bytes(each) for each in ("Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")]
    assert mixtures == sorted(mixtures)
    # Four to nine bits a weight: blocks that do not divide a row fall back to larger ones.
    assert 4.0 < 8 * mixtures[0] / of.parameters < mixtures[-1] * 8 / of.parameters < 9.5


def test_an_unknown_format_is_told() -> None:
    with pytest.raises(ValueError, match="no number format 'INT3'; there are FP32, BF16"):
        facts("meta-llama/Meta-Llama-3.1-8B").weights_bytes("INT3")


@pytest.mark.parametrize(
    ("mixture", "bits"), [("Q4_K_M", 4.89), ("Q5_K_M", 5.70), ("Q6_K", 6.56), ("Q8_0", 8.50)]
)
def test_bits_per_weight_of_llama_31_8b(mixture: str, bits: float) -> None:
    of = facts("meta-llama/Meta-Llama-3.1-8B")
    assert 8 * of.weights_bytes(mixture) / of.parameters == pytest.approx(bits, abs=0.006)
    assert mixture in MIXTURES


def checkpoint(**quantization: Any) -> Format:
    return checkpoint_format({"quantization_config": quantization}, Fields({}))


@pytest.mark.parametrize(
    ("variant", "read"),
    [
        ("w8a8", CompressedTensors(weight_only=False, head=False)),
        ("w8a16", CompressedTensors(weight_only=True, head=False, packed=True)),
        ("w8a16_tensor_head", CompressedTensors(weight_only=True, head=True, packed=True)),
    ],
)
def test_what_the_engine_reads_of_int8_that_llm_compressor_wrote(
    variant: str, read: CompressedTensors
) -> None:
    folder = Path(__file__).parents[2] / "data" / "compressed_tensors" / variant
    config = json.loads((folder / "config.json").read_text())
    assert engine_scheme(config, Fields(config)) == read
    assert read_model(config).compressed == read
    # A group of inputs with a scale of its own, and another maker's INT8.
    weights = config["quantization_config"]["config_groups"]["group_0"]["weights"]
    weights |= {"strategy": "group", "group_size": 32}
    assert engine_scheme(config, Fields(config)) is None
    for method in ({"quant_method": "bitsandbytes"}, {"quant_method": "gptq", "bits": 8}):
        assert engine_scheme({"quantization_config": method}, Fields({})) is None


def test_a_checkpoint_is_in_its_dtype_unless_quantized() -> None:
    assert checkpoint_format({"torch_dtype": "float16"}, Fields({})) == FORMATS["FP16"]
    assert checkpoint_format({"dtype": "float32"}, Fields({})) == FORMATS["FP32"]
    assert checkpoint_format({}, Fields({"dtype": "bfloat16"})) == FORMATS["BF16"]
    assert checkpoint_format({}, Fields({})) == FORMATS["BF16"]


@pytest.mark.parametrize(
    ("quantization", "name", "bits_per_weight"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FP8", 8 + 32 / 128**2),
        ({"quant_method": "fp8"}, "FP8", 8 + 32 / 4096),
        ({"quant_method": "fbgemm_fp8"}, "FP8", 8 + 32 / 4096),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "INT4", 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, "INT8", 8 + 24 / 32),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "INT4", 4 + 20 / 4096),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVFP4", 4.5),
        ({"quant_algo": "FP8"}, "FP8", 8 + 32 / 4096),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "INT4", 4 + 32 / 64),
        ({"quant_method": "bitsandbytes"}, "INT8", 8 + 32 / 4096),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"0": {"weights": {"num_bits": 8, "type": "int"}}},
            },
            "INT8",
            8 + 32 / 4096,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "0": {
                        "weights": {
                            "num_bits": 4,
                            "type": "int",
                            "strategy": "group",
                            "group_size": 32,
                            "symmetric": True,
                        }
                    }
                },
            },
            "INT4",
            4.5,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {
                    "0": {
                        "weights": {
                            "num_bits": 4,
                            "type": "int",
                            "strategy": "channel",
                            "group_size": None,
                            "symmetric": True,
                        }
                    }
                },
            },
            "INT4",
            4 + 16 / 4096,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {
                    "0": {
                        "weights": {
                            "num_bits": 8,
                            "type": "int",
                            "strategy": "group",
                            "group_size": 128,
                            "symmetric": True,
                        }
                    }
                },
            },
            "INT8",
            8 + 16 / 128,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "mxfp4-pack-quantized",
                "config_groups": {"0": {"weights": {"num_bits": 4, "type": "float"}}},
            },
            "MXFP4",
            4.25,
        ),
    ],
)
def test_what_a_quantization_config_says(
    quantization: dict[str, Any], name: str, bits_per_weight: float
) -> None:
    form = checkpoint(**quantization)
    assert form.name == name
    assert 8 * form.bytes_of(SQUARE) / SQUARE.parameters == pytest.approx(bits_per_weight)


@pytest.mark.parametrize(
    ("left", "parts"),
    [
        ([], {"ATTENTION", "MLP", "EXPERT"}),
        (["lm_head", "model.layers.0.mlp.gate"], {"ATTENTION", "MLP", "EXPERT"}),
        (["re:.*self_attn.*", "re:.*shared_experts.*"], {"EXPERT"}),
        (["model.layers.*.self_attn"], {"MLP", "EXPERT"}),
        ([f"model.layers.{i}.self_attn.q_proj" for i in range(32)], {"MLP", "EXPERT"}),
        (["model.layers.0.self_attn.q_norm"] * 9, {"ATTENTION", "MLP", "EXPERT"}),
    ],
)
def test_parts_that_a_checkpoint_leaves_as_they_were(left: list[str], parts: set[str]) -> None:
    form = checkpoint(quant_method="modelopt", quant_algo="NVFP4", ignore=left)
    assert {part.name for part in form.parts} == parts


@pytest.mark.parametrize("variant", ["w8a16", "w8a16_tensor_head", "w8a8"])
def test_bytes_of_what_llm_compressor_wrote(variant: str) -> None:
    """As the engine holds them: scales in FP32, one for each output, and no filled-up words."""
    folder = DATA / "compressed_tensors" / variant
    of = model_facts(read_model(json.loads((folder / "config.json").read_text())))
    assert ("HEAD" in {part.name for part in of.model.checkpoint.parts}) is ("head" in variant)
    expected = 0
    with safe_open(folder / "model.safetensors", framework="np") as file:
        names = set(file.keys())
        for name in names:
            layer, _, kind = name.rpartition(".")
            shape = file.get_slice(name).get_shape()
            if f"{layer}.weight_scale" not in names:
                expected += 2 * math.prod(shape)
            elif kind in ("weight", "weight_packed"):
                if kind == "weight_packed":
                    shape = file.get_tensor(f"{layer}.weight_shape").tolist()
                expected += shape[0] * (shape[1] + 4)
    assert of.weights_bytes(CHECKPOINT) == expected


def test_only_the_experts_of_gpt_oss_are_quantized() -> None:
    of = facts("openai/gpt-oss-20b")
    assert of.expert_bytes(CHECKPOINT) / of.expert_parameters == pytest.approx(4.25 / 8, rel=2e-3)
    assert of.linear_bytes(CHECKPOINT) == 2 * of.linear_parameters
