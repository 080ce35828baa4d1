from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models

from plimsoll_runtime.server.detokenizer import IncrementalDetokenizer
from plimsoll_runtime.server.tokenizer import Tokenizer

TEXTS = [
    "Hello, world!",
    "naïve café — “quoted” …",
    "中文字符，日本語テキスト",
    "family 👨‍👩‍👧‍👦 flag 🇩🇪 e\u0301",
    "  leading and   inner spaces\n\n\ttabs ",
    "\x00\x01 control",
]


def stream(tokenizer: Tokenizer, ids: Sequence[int], prompt: Sequence[int] = ()) -> list[str]:
    detokenizer = IncrementalDetokenizer(tokenizer.decode, tokenizer.has_text, prompt)
    return [*(detokenizer.push(token_id) for token_id in ids), detokenizer.flush()]


def bytewise() -> Tokenizer:
    """A sentencepiece-like tokenizer whose unknown characters are byte tokens."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁Hello", "▁world", "▁", "!", "a", "Hello"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    hf = HFTokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    hf.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return Tokenizer(hf, frozenset(), frozenset())


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_up_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = stream(tokenizer, ids)
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


@given(text=st.text(max_size=60))
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


@given(ids=st.lists(st.integers(0, 2100), max_size=120))
def test_any_tokens_equal_decoding_them_at_once(tokenizer: Tokenizer, ids: list[int]) -> None:
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_text_equal_decoding_them_at_once(
    tokenizer: Tokenizer, data: bytes
) -> None:
    ids = byte_tokens(tokenizer, data)
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize(
    "data", [b"\xe4" * 200, b"\xf0\x9f\x98" * 80 + b"\x80ok", b"\x80" * 99 + "é".encode() * 50]
)
def test_long_unclean_runs_stay_cheap_and_right(tokenizer: Tokenizer, data: bytes) -> None:
    longest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return tokenizer.decode(ids)

    ids = byte_tokens(tokenizer, data)
    detokenizer = IncrementalDetokenizer(decode, tokenizer.has_text)
    text = "".join([*(detokenizer.push(each) for each in ids), detokenizer.flush()])
    assert text == tokenizer.decode(ids)
    assert longest < 64


def test_special_tokens_do_not_make_the_window_grow(tokenizer: Tokenizer) -> None:
    sizes = []

    def decode(ids: Sequence[int]) -> str:
        sizes.append(len(ids))
        return tokenizer.decode(ids)

    detokenizer = IncrementalDetokenizer(decode, tokenizer.has_text)
    for _ in range(100):
        assert detokenizer.push(5) == ""
    assert sizes == []


def test_a_leading_space_is_kept_after_a_prompt_and_stripped_without() -> None:
    tokenizer = bytewise()
    hello, world = (tokenizer.hf.token_to_id(each) for each in ("▁Hello", "▁world"))
    assert stream(tokenizer, [world]) == ["world", ""]
    assert stream(tokenizer, [world], [hello]) == [" world", ""]


def test_byte_tokens_wait_for_the_whole_character() -> None:
    tokenizer = bytewise()
    ids = [tokenizer.hf.token_to_id(f"<0x{byte:02X}>") for byte in "中a😀".encode()]
    pieces = stream(tokenizer, ids)
    assert [piece for piece in pieces if piece] == ["中", "a", "😀"]


def test_a_character_cut_between_prompt_and_answer_is_completed(tokenizer: Tokenizer) -> None:
    ids = byte_tokens(tokenizer, "a中b".encode())
    assert "".join(stream(tokenizer, ids[2:], ids[:2])) == "中b"


def test_an_incomplete_character_at_the_end_is_replaced(tokenizer: Tokenizer) -> None:
    ids = byte_tokens(tokenizer, "a中".encode())[:-1]
    assert stream(tokenizer, ids) == ["a", "", "", "\ufffd"]


def byte_tokens(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """One token for each byte, by the byte-level alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in table]
    table |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [tokenizer.hf.token_to_id(table[byte]) for byte in data]
