"""The files of builtin://tiny: present, small, and consistent with each other."""

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from plimsoll_runtime import builtin

TINY = builtin.path("tiny")
TOKENIZER = Tokenizer.from_file(str(TINY / "tokenizer.json"))
BYTES_PER_VALUE = {"BF16": 2}


def read_json(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((TINY / name).read_text(encoding="utf-8"))
    return value


def safetensors_header() -> dict[str, Any]:
    with (TINY / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header


def render(messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
    def raise_exception(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.globals["raise_exception"] = raise_exception
    config = read_json("tokenizer_config.json")
    template = environment.from_string(config["chat_template"])
    return template.render(
        messages=messages,
        add_generation_prompt=add_generation_prompt,
        bos_token=config["bos_token"],
        eos_token=config["eos_token"],
    )


def test_names_lists_tiny_and_not_the_training_code() -> None:
    assert builtin.names() == ["tiny"]


@pytest.mark.parametrize("name", ["large", "", "../builtin/tiny", "train", "tiny/"])
def test_path_of_an_unknown_name_lists_those_that_exist(name: str) -> None:
    with pytest.raises(ValueError, match="builtin://tiny") as caught:
        builtin.path(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
)
def test_file_exists_and_is_readable_by_everyone(name: str) -> None:
    file = TINY / name
    assert file.is_file()
    assert file.stat().st_mode & 0o004


def test_everything_together_is_at_most_8_megabytes() -> None:
    assert sum(file.stat().st_size for file in TINY.iterdir()) <= 8_000_000


def expected_shapes(config: dict[str, Any]) -> dict[str, list[int]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    key_value = config["num_key_value_heads"] * config["head_dim"]
    shapes = {
        "model.embed_tokens.weight": [config["vocab_size"], hidden],
        "model.norm.weight": [hidden],
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.input_layernorm.weight": [hidden],
            f"{prefix}.post_attention_layernorm.weight": [hidden],
            f"{prefix}.self_attn.q_proj.weight": [query, hidden],
            f"{prefix}.self_attn.k_proj.weight": [key_value, hidden],
            f"{prefix}.self_attn.v_proj.weight": [key_value, hidden],
            f"{prefix}.self_attn.o_proj.weight": [hidden, query],
            f"{prefix}.mlp.gate_proj.weight": [inner, hidden],
            f"{prefix}.mlp.up_proj.weight": [inner, hidden],
            f"{prefix}.mlp.down_proj.weight": [hidden, inner],
        }
    return shapes


def test_tensors_are_those_of_the_configuration() -> None:
    header = safetensors_header()
    assert {name: tensor["shape"] for name, tensor in header.items()} == expected_shapes(
        read_json("config.json")
    )
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}


def test_tensor_data_fills_the_file_without_gaps() -> None:
    header = safetensors_header()
    spans = sorted(tensor["data_offsets"] for tensor in header.values())
    assert spans[0][0] == 0
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    for tensor in header.values():
        count = 1
        for size in tensor["shape"]:
            count *= size
        begin, end = tensor["data_offsets"]
        assert end - begin == count * BYTES_PER_VALUE[tensor["dtype"]]
    with (TINY / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    assert (TINY / "model.safetensors").stat().st_size == 8 + length + spans[-1][1]


def test_configuration_suits_the_tests_that_split_and_fill_it() -> None:
    config = read_json("config.json")
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0
    assert config["num_key_value_heads"] % 4 == 0
    assert config["intermediate_size"] % 4 == 0
    assert config["max_position_embeddings"] == 2048
    assert config["tie_word_embeddings"] is True


def test_special_tokens_agree_between_the_files() -> None:
    config, tokens = read_json("config.json"), read_json("tokenizer_config.json")
    assert TOKENIZER.get_vocab_size() == config["vocab_size"]
    assert TOKENIZER.token_to_id(tokens["bos_token"]) == config["bos_token_id"]
    assert TOKENIZER.token_to_id(tokens["pad_token"]) == config["pad_token_id"]
    assert TOKENIZER.token_to_id("<|end|>") in config["eos_token_id"]
    assert TOKENIZER.token_to_id(tokens["eos_token"]) in config["eos_token_id"]
    assert read_json("generation_config.json")["eos_token_id"] == config["eos_token_id"]
    added = {token.content for token in TOKENIZER.get_added_tokens_decoder().values()}
    assert {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"} <= added


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_tokenizer_gives_back_any_text(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    "text", ["", "naïve café", "日本語", "👩‍👩‍👧 🇩🇪", "\x00\t\r\n  x", "  two  "]
)
def test_tokenizer_gives_back_unicode(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False).ids) == text


def test_encoding_adds_the_beginning_once() -> None:
    bos = read_json("config.json")["bos_token_id"]
    plain = TOKENIZER.encode("json", add_special_tokens=False).ids
    assert TOKENIZER.encode("json").ids == [bos, *plain]
    assert bos not in plain


def test_english_is_compressed() -> None:
    text = "Return the canonical path of the specified filename, eliminating symbolic links."
    assert len(TOKENIZER.encode(text, add_special_tokens=False).ids) < len(text) / 2.5


def test_template_ends_with_the_assistant_marker_when_asked() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Who are you? "},
        {"role": "assistant", "content": "A model."},
        {"role": "user", "content": "What is json?"},
    ]
    expected = (
        "<|bos|><|system|>Be brief.<|end|><|user|>Who are you?<|end|>"
        "<|assistant|>A model.<|end|><|user|>What is json?<|end|>"
    )
    assert render(messages, add_generation_prompt=False) == expected
    assert render(messages, add_generation_prompt=True) == expected + "<|assistant|>"


def test_template_accepts_content_parts() -> None:
    parts = [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]
    rendered = render([{"role": "user", "content": parts}], add_generation_prompt=True)
    assert rendered == "<|bos|><|user|>Who are you?<|end|><|assistant|>"


def test_template_rejects_an_unknown_role_by_name() -> None:
    with pytest.raises(ValueError, match="wizard"):
        render([{"role": "wizard", "content": "x"}], add_generation_prompt=True)


def test_rendered_template_encodes_to_one_token_per_marker() -> None:
    ids = TOKENIZER.encode(
        render([{"role": "user", "content": "x"}], add_generation_prompt=True),
        add_special_tokens=False,
    ).ids
    markers = ["<|bos|>", "<|user|>", "<|end|>", "<|assistant|>"]
    expected = [TOKENIZER.token_to_id(marker) for marker in markers]
    assert [i for i in ids if i in expected] == expected


def test_card_states_the_measured_result() -> None:
    card = (TINY / "README.md").read_text(encoding="utf-8")
    for needed in ("perplexity", "bits per byte", "SHA-256", "Licence", "--steps"):
        assert needed in card
    assert str(Path.home()) not in card
