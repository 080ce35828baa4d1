"""The model's tokenizer: text to ids and back, by the `tokenizers` library from tokenizer.json."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as HFTokenizer

from plimsoll_runtime.server.chat_template import ChatTemplate

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")

NORMALIZED = 4
"""Times by which Unicode normalization may at most shorten text before it is encoded."""

REMEMBERED = 16384
"""Tokens that are looked up once: streaming asks for each one by itself, and most of a text is made
of few."""


class TokenizerError(ValueError):
    """The model folder has no usable tokenizer; the message says what is missing or broken."""


@dataclass(frozen=True)
class Tokenizer:
    """Thread-safe. `eos_token_ids` are those that the tokenizer's and generation config name;
    `longest_token` is in bytes of text, 0 when that is not known. Some models have a chat template
    of its own for conversations with tools, `tool_template`."""

    hf: HFTokenizer
    special_ids: frozenset[int]
    eos_token_ids: frozenset[int]
    longest_token: int = 0
    chat_template: ChatTemplate | None = None
    special_tokens: dict[str, str] = field(default_factory=dict)
    tool_template: ChatTemplate | None = None

    def template(self, with_tools: bool) -> ChatTemplate | None:
        """The chat template for conversations with or without tools."""
        return (self.tool_template if with_tools else None) or self.chat_template

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`; special tokens spelled out in it are recognised."""
        ids: list[int] = self.hf.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def fewest_tokens(self, text: str) -> int:
        """A lower bound on the tokens of `text`, found without the seconds that encoding takes."""
        if not self.longest_token:
            return 0
        return len(text.encode()) // (self.longest_token * NORMALIZED)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`; ids without a token have no text."""
        if len(ids) == 1:
            return _text_alone(self.hf, ids[0], skip_special_tokens)
        return str(self.hf.decode(ids, skip_special_tokens=skip_special_tokens))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens themselves, as the vocabulary spells them; empty for ids without one."""
        return [self.hf.id_to_token(token_id) or "" for token_id in ids]

    def is_special(self, tokens: Iterable[str]) -> bool:
        """Whether one of `tokens` is a special token, which decoding leaves out."""
        return any(self.hf.token_to_id(token) in self.special_ids for token in tokens)

    def has_text(self, token_id: int, skip_special_tokens: bool = True) -> bool:
        """Whether decoding gives `token_id` any text."""
        if skip_special_tokens and token_id in self.special_ids:
            return False
        return _is_token(self.hf, token_id)


@lru_cache(REMEMBERED)
def _text_alone(hf: HFTokenizer, token_id: int, skip_special_tokens: bool) -> str:
    return str(hf.decode([token_id], skip_special_tokens=skip_special_tokens))


@lru_cache(REMEMBERED)
def _is_token(hf: HFTokenizer, token_id: int) -> bool:
    return hf.id_to_token(token_id) is not None


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads tokenizer.json, and tokenizer_config.json and the chat template where they exist.

    Raises TokenizerError.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(
            f"{folder}: no tokenizer.json; save the tokenizer in the fast format "
            "(tokenizer.save_pretrained of transformers writes it)"
        )
    try:
        hf = HFTokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"{path}: not a tokenizer: {error}") from error
    hf.no_truncation()
    hf.no_padding()
    config = _read_object(folder / "tokenizer_config.json")
    special_tokens = _special_tokens(config, _read_object(folder / "special_tokens_map.json"))
    added = hf.get_added_tokens_decoder()
    return Tokenizer(
        hf=hf,
        special_ids=frozenset(token_id for token_id, token in added.items() if token.special),
        eos_token_ids=_eos_token_ids(hf, special_tokens, folder),
        longest_token=max((len(token.encode()) for token in hf.get_vocab()), default=0),
        chat_template=_chat_template(folder, config, "default"),
        special_tokens=special_tokens,
        tool_template=_chat_template(folder, config, "tool_use"),
    )


def _eos_token_ids(hf: HFTokenizer, special_tokens: dict[str, str], folder: Path) -> frozenset[int]:
    ids: set[int] = set()
    eos = hf.token_to_id(special_tokens["eos_token"]) if "eos_token" in special_tokens else None
    if eos is not None:
        ids.add(eos)
    value = _read_object(folder / "generation_config.json").get("eos_token_id")
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int) and not isinstance(item, bool):
            ids.add(item)
    return frozenset(ids)


def _special_tokens(*sources: dict[str, Any]) -> dict[str, str]:
    """Special tokens are written as text or as {"content": text}."""
    found: dict[str, str] = {}
    for name in SPECIAL_TOKENS:
        for source in sources:
            value = source.get(name)
            if isinstance(value, dict):
                value = value.get("content")
            if isinstance(value, str):
                found.setdefault(name, value)
    return found


def _chat_template(folder: Path, config: dict[str, Any], name: str) -> ChatTemplate | None:
    """chat_template.jinja wins over tokenizer_config.json, as in transformers.

    A template without a name is the default.
    """
    default = folder / "chat_template.jinja"
    path = default if name == "default" else folder / "additional_chat_templates" / f"{name}.jinja"
    source: object = None
    if path.is_file():
        source = path.read_text(encoding="utf-8")
    elif not default.is_file():
        source = config.get("chat_template")
        named = {"default": source}
        if isinstance(source, list):
            named = {item.get("name"): item.get("template") for item in source if item}
        source = named.get(name)
    if not isinstance(source, str):
        return None
    try:
        return ChatTemplate(source)
    except ValueError as error:
        raise TokenizerError(f"{folder}: chat template: {error}") from error


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: not a JSON object")
    return value
