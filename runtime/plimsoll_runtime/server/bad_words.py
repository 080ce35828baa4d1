"""`bad_words`: text that an answer must not hold, as token ids."""

from collections.abc import Iterable

from plimsoll_runtime.server.tokenizer import Tokenizer


def bad_word_ids(tokenizer: Tokenizer, words: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Every word as it is tokenized at the start of a text and after a space, as vLLM does.

    Other ways to spell a word in tokens are not found.
    """
    spellings = [spelling for word in words for spelling in (word, f" {word.lstrip()}")]
    ids = [tuple(tokenizer.encode(each, add_special_tokens=False)) for each in spellings]
    return tuple(dict.fromkeys(each for each in ids if each))
