"""How a server wants to be asked: which API, and which of the fields that not all know."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


@dataclass(frozen=True)
class Dialect:
    """`text`: prompts go as text rather than as token ids. `token_ids`: answers bring the ids of
    their tokens. `exact`: `ignore_eos` is understood, so answers are as long as asked."""

    chat: bool = False
    text: bool = False
    token_ids: bool = True
    exact: bool = True

    @property
    def wants_text(self) -> bool:
        """Whether prompts go as text."""
        return self.chat or self.text

    @property
    def path(self) -> str:
        """Where requests go."""
        return CHAT if self.chat else COMPLETIONS

    def __str__(self) -> str:
        prompts = "text" if self.wants_text else "token ids"
        answers = "" if self.token_ids else ", answers without token ids"
        return f"{self.path}, prompts as {prompts}{answers}" + (
            "" if self.exact else ", any length"
        )


def dialects(*, chat: bool, text: bool | None) -> list[Dialect]:
    """Those to try, the most exact first; `text` None tries both kinds of prompts."""
    kinds = [True] if chat or text else [False] if text is False else [False, True]
    return [
        Dialect(chat, kind, token_ids, exact)
        for kind in kinds
        for token_ids, exact in ((True, True), (False, True), (False, False))
    ]


def body(
    dialect: Dialect,
    model: str,
    prompt: Sequence[int] | str,
    output_tokens: int,
    extra: Mapping[str, Any],
) -> bytes:
    """The JSON of a greedy, streamed request; `extra` goes over all else."""
    content: Json = {
        "model": model,
        "max_tokens": output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if dialect.exact:
        content["ignore_eos"] = True
    if dialect.token_ids:
        content["return_token_ids"] = True
    if dialect.chat:
        content["messages"] = [{"role": "user", "content": prompt}]
    else:
        content["prompt"] = prompt
    return json.dumps(content | dict(extra), separators=(",", ":")).encode()
