"""Each token's own bytes, for the kinds of tokenizers that models have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLTokenizer
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models, pre_tokenizers

from plimsoll_runtime import builtin
from plimsoll_runtime.server.token_text import TokenText
from plimsoll_runtime.server.tokenizer import Tokenizer, load_tokenizer

FOLDER = builtin.path("tiny")
TINY = load_tokenizer(FOLDER)
TEXT = TokenText(TINY)


def wrapped(hf: HFTokenizer) -> Tokenizer:
    return Tokenizer(hf, frozenset(), frozenset())


@pytest.fixture(scope="module")
def sentencepiece() -> TokenText:
    """Shaped like Llama 2's: spaces as U+2581, bytes for what has no token."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581the", "\u2581", "cat"]
    vocab = {name: index for index, name in enumerate(names)}
    hf = HFTokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    hf.pre_tokenizer = pre_tokenizers.Metaspace()
    hf.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    hf.add_special_tokens(["<s>"])
    return TokenText(wrapped(hf))


def test_every_token_of_tiny_is_what_another_implementation_says() -> None:
    other = LLTokenizer((FOLDER / "tokenizer.json").read_text())
    assert other.vocab_size == 2048
    for token_id in range(2048):
        # It keeps the byte 0xFF, which is in no text, for itself.
        assert TEXT.bytes_of(token_id) == (other.decode_bytes([token_id]) or b"\xff")


@given(st.text(max_size=30))
def test_the_bytes_of_a_texts_tokens_are_the_texts(text: str) -> None:
    ids = TINY.encode(text, add_special_tokens=False)
    assert b"".join(TEXT.bytes_of(each) for each in ids).decode() == text


def test_bytes_that_are_no_characters_are_shown_as_such() -> None:
    ids = TINY.encode("中", add_special_tokens=False)
    assert len(ids) > 1
    shown = [TEXT.text_of(each) for each in ids]
    assert all(each.startswith("bytes:\\x") for each in shown)
    assert "".join(shown).replace("bytes:", "") == "\\xe4\\xb8\\xad"
    assert TEXT.text_of(5) == "<|end|>"


def test_sentencepiece(sentencepiece: TokenText) -> None:
    assert sentencepiece.bytes_of(1 + 0xE4) == b"\xe4"
    assert sentencepiece.text_of(1 + 0xE4) == "bytes:\\xe4"
    assert sentencepiece.text_of(1 + ord("a")) == "a"
    assert [sentencepiece.text_of(each) for each in (257, 258, 259)] == [" the", " ", "cat"]
    assert sentencepiece.text_of(260) == "<s>"


def test_others_are_decoded_and_what_is_no_token_is_nothing() -> None:
    hf = HFTokenizer(models.WordLevel({"[UNK]": 0, "naïve": 1}, unk_token="[UNK]"))
    text = TokenText(wrapped(hf))
    assert text.bytes_of(1) == "naïve".encode()
    assert text.bytes_of(99) == b""
    assert TEXT.text_of(10**6) == ""
