"""What single tokens stand for: bytes, which need not be whole characters."""

import json
import re
from collections.abc import Iterator
from typing import Any

from plimsoll_runtime.server.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SENTENCEPIECE_SPACE = "\u2581"


class TokenText:
    """The bytes and the text of each token of a tokenizer, special ones included.

    Byte-level tokenizers (Llama 3, Qwen) write bytes as printable characters, SentencePiece's
    (Llama 2, Mistral, Gemma) as `<0xE2>` and a space as U+2581; others are decoded one by one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._hf = tokenizer.hf
        self._added = {
            token_id: token.content.encode()
            for token_id, token in self._hf.get_added_tokens_decoder().items()
        }
        kinds = set(_kinds(self._hf.decoder))
        self._byte_level = "ByteLevel" in kinds
        self._byte_fallback = "ByteFallback" in kinds
        self._bytes: dict[int, bytes] = {}

    def bytes_of(self, token_id: int) -> bytes:
        """Empty for an id without a token."""
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = self._find(token_id)
        return known

    def text_of(self, token_id: int) -> str:
        """The token as text; where it is not whole characters, as OpenAI's `bytes:\\xe2`."""
        value = self.bytes_of(token_id)
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{each:02x}" for each in value)

    def _find(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id]
        token = self._hf.id_to_token(token_id)
        if token is None:
            return b""
        if self._byte_level and all(each in _BYTES for each in token):
            return bytes(_BYTES[each] for each in token)
        if self._byte_fallback:
            byte = _BYTE.fullmatch(token)
            if byte is not None:
                return bytes.fromhex(byte.group(1))
            return token.replace(_SENTENCEPIECE_SPACE, " ").encode()
        return str(self._hf.decode([token_id])).encode()


def _byte_characters() -> dict[str, int]:
    """GPT-2's printable characters for bytes: themselves where they print, else from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_characters()


def _kinds(decoder: Any) -> Iterator[str]:
    """The types of a decoder and of those inside it."""
    if decoder is None:
        return
    waiting = [json.loads(decoder.__getstate__())]
    while waiting:
        part = waiting.pop()
        yield str(part.get("type"))
        waiting.extend(part.get("decoders", []))
