"""Measures an exported model: held-out perplexity, sample answers, recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaForCausalLM

from plimsoll_runtime.builtin.train.architecture import ASSISTANT, BOS, END, EOS, USER
from plimsoll_runtime.builtin.train.dialogue import Turn
from plimsoll_runtime.builtin.train.vocabulary import encode_text


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Loss on text that was not trained on; lower is better.

    `perplexity` is per token, exp(nll / tokens); `bits_per_byte` is
    nll / ln 2 / bytes and does not depend on the tokenizer.
    """

    tokens: int
    text_bytes: int
    perplexity: float
    bits_per_byte: float


def load(folder: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    """Return the model in `folder`, in float32, and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


@torch.no_grad()
def held_out(
    model: LlamaForCausalLM, tokenizer: Tokenizer, texts: Sequence[str], window: int
) -> HeldOut:
    """Return the loss of `model` on `texts`, each in windows of `window` tokens.

    Windows do not overlap, and each starts with the beginning-of-sequence token, so
    the figure is an upper bound of what a sliding window would give.
    """
    nll, tokens = 0.0, 0
    for text in texts:
        ids = [*encode_text(tokenizer, text), EOS]
        for start in range(0, len(ids), window):
            target = ids[start : start + window]
            logits = model(input_ids=torch.tensor([[BOS, *target[:-1]]])).logits[0]
            nll += functional.cross_entropy(logits, torch.tensor(target), reduction="sum").item()
            tokens += len(target)
    text_bytes = sum(len(text.encode()) for text in texts)
    return HeldOut(tokens, text_bytes, math.exp(nll / tokens), nll / math.log(2) / text_bytes)


@torch.no_grad()
def answer(
    model: LlamaForCausalLM, tokenizer: Tokenizer, question: str, max_tokens: int = 80
) -> tuple[str, bool]:
    """Return the greedy answer to `question` and whether it ended by itself."""
    prompt = [BOS, USER, *encode_text(tokenizer, question), END, ASSISTANT]
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_tokens,
    )
    ids = output[0, len(prompt) :].tolist()
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text, ids[-1] == END


def recall(model: LlamaForCausalLM, tokenizer: Tokenizer, turns: Sequence[Turn]) -> float:
    """Return the share of trained exchanges that the model repeats word for word.

    This measures memory, not understanding.
    """
    right = 0
    for question, text in turns:
        budget = len(encode_text(tokenizer, text)) + 1
        right += answer(model, tokenizer, question, budget) == (text, True)
    return right / len(turns)
