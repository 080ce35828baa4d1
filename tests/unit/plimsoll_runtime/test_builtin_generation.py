"""builtin://tiny under transformers, an implementation that is not ours.

Heavier than the other unit tests: imports transformers and runs the weights.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM

from plimsoll_runtime import builtin
from plimsoll_runtime.builtin.train import batches, dialogue, evaluate, fit, sources
from plimsoll_runtime.builtin.train.__main__ import main
from plimsoll_runtime.builtin.train.dialogue import HAND_WRITTEN_MODULES
from plimsoll_runtime.builtin.train.facts import Fact

TINY = builtin.path("tiny")

# Written for this test; in no corpus.
UNSEEN_TEXT = (
    "Return a new list that contains the items of the given sequence in reverse order. "
    "If the optional argument is true, the items are sorted first. "
    "Raise ValueError if the sequence is empty."
)


@pytest.fixture(scope="module")
def loaded() -> Iterator[tuple[LlamaForCausalLM, Tokenizer]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield evaluate.load(TINY)
    torch.set_num_threads(threads)


def test_every_weight_is_loaded_and_finite(
    loaded: tuple[LlamaForCausalLM, Tokenizer],
) -> None:
    model, info = LlamaForCausalLM.from_pretrained(
        TINY, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.rope_parameters["rope_theta"] == 10000.0
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Who are you?", "Plimsoll's tiny model"),
        ("Hello!", "Hello"),
        ("What does the json module do?", "JSON text"),
    ],
)
def test_greedy_answer_stops_by_itself_and_says_what_was_learned(
    loaded: tuple[LlamaForCausalLM, Tokenizer], question: str, words: str
) -> None:
    text, ended = evaluate.answer(*loaded, question, max_tokens=60)
    assert words in text
    assert ended


def test_most_famous_modules_are_remembered(
    loaded: tuple[LlamaForCausalLM, Tokenizer],
) -> None:
    turns = [(f"What is {name}?", answer) for name, answer in HAND_WRITTEN_MODULES.items()]
    assert evaluate.recall(*loaded, turns[:8]) >= 0.75


def test_loss_on_unseen_text_is_far_below_an_untrained_model(
    loaded: tuple[LlamaForCausalLM, Tokenizer],
) -> None:
    measured = evaluate.held_out(*loaded, [UNSEEN_TEXT], window=256)
    assert measured.text_bytes == len(UNSEEN_TEXT)
    assert measured.bits_per_byte < 1.9
    assert 1 < measured.perplexity < 60


def test_scrambled_text_is_less_likely_than_text(
    loaded: tuple[LlamaForCausalLM, Tokenizer],
) -> None:
    scrambled = " ".join(sorted(UNSEEN_TEXT.split()))
    plain, mixed = (
        evaluate.held_out(*loaded, [text], window=256).bits_per_byte
        for text in (UNSEEN_TEXT, scrambled)
    )
    assert plain < 0.8 * mixed


def test_a_long_prompt_does_not_break_the_model(
    loaded: tuple[LlamaForCausalLM, Tokenizer],
) -> None:
    text = (UNSEEN_TEXT + " ") * 40
    measured = evaluate.held_out(*loaded, [text], window=2047)
    assert measured.tokens > 1500
    assert measured.perplexity < 60


def test_transformers_reads_the_tokenizer_and_its_template() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who are you?"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert tokenizer.decode(ids) == "<|bos|><|user|>Who are you?<|end|><|assistant|>"
    assert tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")
    assert tokenizer("json").input_ids[0] == tokenizer.bos_token_id


def test_serving_does_not_import_the_training_code() -> None:
    code = (
        "import sys; from plimsoll_runtime import builtin; builtin.path('tiny'); "
        "print(sorted(m for m in ('torch', 'transformers', 'tokenizers', 'numpy', "
        "'plimsoll_runtime.builtin.train') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_the_seed_decides_the_weights(loaded: tuple[LlamaForCausalLM, Tokenizer]) -> None:
    _, tokenizer = loaded
    chats = dialogue.dialogues(
        [Fact("a", "module", "a", "The a module."), Fact("len", "class", "", "A size.")]
    )
    prose = np.arange(10, 2000, dtype=np.int64)

    def trained(seed: int) -> dict[str, torch.Tensor]:
        model = fit.new_model(seed)
        sampler = batches.Sampler(tokenizer, prose, chats, 0.5, seed)
        assert fit.train(model, sampler, fit.Recipe(1, None, seed)).tokens == fit.TOKENS_PER_STEP
        return model.state_dict()

    first, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


@pytest.mark.timeout(180)
def test_the_script_makes_a_complete_model(tmp_path: Path) -> None:
    """Two steps of training on a part of the library, then all that the real run does."""
    library, out = tmp_path / "library", tmp_path / "out"
    held = next(f"m{i}.py" for i in range(1000) if sources.is_held_out(f"m{i}.py"))
    (library / "pydoc_data").mkdir(parents=True)
    (library / "pydoc_data" / "topics.py").write_text(f"topics = {{'x': {UNSEEN_TEXT!r}}}\n")
    (library / held).write_text(f'"""{UNSEEN_TEXT[::-1]}"""\n')
    (library / "argparse.py").write_text(Path(argparse.__file__).read_text(encoding="utf-8"))
    threads = torch.get_num_threads()
    try:
        assert main(["--out", str(out), "--steps", "2", "--stdlib", str(library)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert {file.name for file in out.iterdir()} == {file.name for file in TINY.iterdir()}
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (TINY / name).read_bytes()
    size = (out / "model.safetensors").stat().st_size
    assert size == (TINY / "model.safetensors").stat().st_size
    assert "2 steps, 8,192 tokens" in (out / "README.md").read_text(encoding="utf-8")
