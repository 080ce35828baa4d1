"""The text that is read: what `builtin://tiny` was not trained on, as its card measures it."""

from tokenizers import Tokenizer

from plimsoll_runtime import builtin
from plimsoll_runtime.builtin.train.architecture import BOS, EOS
from plimsoll_runtime.builtin.train.sources import collect
from plimsoll_runtime.builtin.train.vocabulary import encode_text

MODEL = builtin.path("tiny")
WINDOW = 256


def windows() -> list[list[int]]:
    """Up to 256 tokens each after the token that begins a text; they do not overlap.

    The documentation that this Python carries, so the same for the same release of Python.
    """
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    texts = [[*encode_text(tokenizer, document.text), EOS] for document in collect().held_out]
    return [
        [BOS, *text[start : start + WINDOW]]
        for text in texts
        for start in range(0, len(text), WINDOW)
    ]
