"""The byte-level BPE tokenizer, trained on the training part of the corpus only."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from plimsoll_runtime.builtin.train.architecture import (
    ASSISTANT,
    BOS,
    END,
    SPECIAL_TOKENS,
    SYSTEM,
    USER,
    VOCAB_SIZE,
)

_ROLE = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Return a tokenizer of `VOCAB_SIZE` tokens that covers every byte.

    Encoding adds the beginning-of-sequence token, as published Llama tokenizers do.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos = SPECIAL_TOKENS[BOS]
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, BOS)]
        ),
    ])  # fmt: skip
    return tokenizer


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of `text` without the beginning-of-sequence token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def encode_chat(
    tokenizer: Tokenizer, messages: Iterable[dict[str, str]]
) -> tuple[list[int], list[bool]]:
    """Return the tokens of a conversation, and which of them the model has to learn.

    The tokens equal those of the chat template. Learned are the assistant's words
    and the end token after them.
    """
    ids, learned = [BOS], [False]
    for message in messages:
        body = encode_text(tokenizer, message["content"])
        ids += [_ROLE[message["role"]], *body, END]
        learned += [False, *[message["role"] == "assistant"] * (len(body) + 1)]
    return ids, learned
