"""A model with random weights is a folder that the engine and the planner read."""

import math
from pathlib import Path

import torch

from e2e.measured.random_llama import LLAMA_135M, shapes, tokenizer, write
from plimsoll_operator.planning.model_source import read_model_directory
from plimsoll_planner.model_facts import model_facts
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.server.tokenizer import load_tokenizer

SMALL = LLAMA_135M | {
    "vocab_size": 1000,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
}


def test_it_has_as_many_parameters_as_smollm() -> None:
    assert sum(math.prod(shape) for shape in shapes(LLAMA_135M).values()) == 134_515_008


def test_the_engine_loads_it_and_the_planner_counts_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(SMALL, folder)
    config = read_model_config(folder)
    model = load_model(
        folder, config, dtype=torch.bfloat16, device=torch.device("cpu"), max_model_len=64
    )
    counted = model_facts(read_model_directory(folder).model).parameters
    assert counted == sum(math.prod(shape) for shape in shapes(SMALL).values())
    assert sum({p.data_ptr(): p.numel() for p in model.parameters()}.values()) == counted


def test_every_token_has_text(tmp_path: Path) -> None:
    tokenizer(1000).save(str(tmp_path / "tokenizer.json"))
    found = load_tokenizer(tmp_path)
    assert found.hf.get_vocab_size() == 1000
    assert all(found.has_text(token_id) for token_id in range(1000))
    assert found.decode(found.encode("the quick brown fox", add_special_tokens=False)) == (
        "the quick brown fox"
    )
