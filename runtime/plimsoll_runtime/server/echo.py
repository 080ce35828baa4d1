"""The prompt as the beginning of a completion's text."""

from collections.abc import Sequence
from typing import NamedTuple

from plimsoll_runtime.server.detokenizer import IncrementalDetokenizer
from plimsoll_runtime.server.tokenizer import Tokenizer


class Echo(NamedTuple):
    """A prompt's text, and for each of its tokens how many characters are before it."""

    token_ids: Sequence[int]
    text: str
    offsets: list[int]


def echo(
    tokenizer: Tokenizer, token_ids: Sequence[int], text: str | None, skip_special_tokens: bool
) -> Echo:
    """`text` is the prompt where the client gave it as such, else it is made from the ids.

    A last character that the prompt leaves incomplete is left to the answer.
    """
    detokenizer = IncrementalDetokenizer(
        lambda ids: tokenizer.decode(ids, skip_special_tokens),
        lambda token_id: tokenizer.has_text(token_id, skip_special_tokens),
    )
    pieces: list[str] = []
    offsets = []
    length = 0
    for token_id in token_ids:
        offsets.append(length)
        pieces.append(detokenizer.push(token_id))
        length += len(pieces[-1])
    if text is None:
        text = "".join(pieces)
    return Echo(token_ids, text, [min(each, len(text)) for each in offsets])
