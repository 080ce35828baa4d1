"""Token ids to text, as they come. Pure but for the tokenizer's decode function."""

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
CONTEXT = 6
"""Prompt tokens decoded along, so that a tokenizer that strips a leading space strips theirs."""
LONG = 24
"""Tokens without clean text after which the window is cut where that is safe."""


class IncrementalDetokenizer:
    """Gives the text that each token adds.

    Tokens are bytes to most tokenizers, and a character may span several: text that ends in
    U+FFFD is held back until it is whole or the sequence ends. A window of tokens is decoded
    twice, without and with the new ones, and the difference is the new text; the window starts
    before the new tokens because decoding treats the first token of a text differently.

    `decode` maps ids to text, `is_text` says whether decode gives an id any text at all (special
    and unknown ids have none and would let the window grow).
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        is_text: Callable[[int], bool],
        prompt_token_ids: Sequence[int] = (),
    ) -> None:
        self._decode = decode
        self._is_text = is_text
        self._window = [token for token in prompt_token_ids[-CONTEXT:] if is_text(token)]
        self._read = len(self._window)
        # A prompt cut inside a character shares its last, replaced, character with the answer.
        self._emitted = len(self._text().rstrip(REPLACEMENT))

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; empty while a character is incomplete."""
        if not self._is_text(token_id):
            return ""
        self._window.append(token_id)
        text = self._decode(self._window)
        if len(text) <= self._emitted or text.endswith(REPLACEMENT):
            return self._cut() if len(self._window) - self._read > LONG else ""
        return self._advance(text, self._read)

    def flush(self) -> str:
        """What is left at the end of the sequence, incomplete characters as U+FFFD."""
        if self._read == len(self._window):
            return ""
        return self._advance(self._text(), self._read)

    def _text(self) -> str:
        return self._decode(self._window) if self._window else ""

    def _advance(self, text: str, start: int) -> str:
        new = text[self._emitted :]
        del self._window[:start]
        self._read = len(self._window)
        self._emitted = len(self._decode(self._window))
        return new

    def _cut(self) -> str:
        """Emits the part of a long unclean window before a point where decoding can restart."""
        whole = self._text()
        for start in range(len(self._window) - 1, self._read, -1):
            head = self._decode(self._window[:start])
            tail = self._decode(self._window[start:])
            if head + tail == whole and len(head) >= self._emitted:
                new = head[self._emitted :]
                self._window = self._window[start:]
                self._read = 0
                self._emitted = 0
                return new
        return ""
