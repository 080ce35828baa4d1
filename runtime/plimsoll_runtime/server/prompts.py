"""Prompts as clients write them, text or token ids, one or many, as token ids."""

from collections.abc import Callable
from typing import Any, NamedTuple

from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.errors import APIError, bad_request, shown
from plimsoll_runtime.server.validation import check_token_ids

Prompts = list[str] | list[list[int]]


class PromptField(NamedTuple):
    """The field that prompts came in, how many tokens each may have, and what more of them are."""

    name: str
    longest: int
    too_long: Callable[[int | str], APIError]


def prompt_list(value: object, name: str, most: int) -> Prompts:
    """Text, a list of texts, token ids or a list of those, as a list of at most `most` prompts.

    Raises APIError 400 that names the field.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if _is_ids(value):
            return [value]
        if isinstance(value[0], str | list) and len(value) > most:
            raise bad_request(
                f"{name}: {len(value)} prompts; at most {most} in one request", param=name
            )
        if all(isinstance(each, str) for each in value):
            return value
        if all(isinstance(each, list) and _is_ids(each) for each in value):
            return value
    raise bad_request(
        f"{name}: must be text, a list of texts, a list of token ids or a list of such lists, "
        f"none of them empty, not {shown(value)}",
        param=name,
    )


async def prompt_ids(
    context: Context, prompts: Prompts, field: PromptField, add_special_tokens: bool
) -> list[list[int]]:
    """The token ids of each prompt, one at least. Raises APIError 400 that names the field."""
    tokenizer = context.tokenizer
    texts = [each for each in prompts if isinstance(each, str)]
    fewest = max(map(tokenizer.fewest_tokens, texts), default=0)
    if fewest > field.longest:
        raise field.too_long(f"at least {fewest}")

    def encode() -> list[list[int]]:
        return [
            tokenizer.encode(each, add_special_tokens) if isinstance(each, str) else each
            for each in prompts
        ]

    result = await context.run_text(encode, sum(map(len, texts)))
    for ids in result:
        if not ids:
            raise bad_request(
                f"{field.name}: a prompt must have at least one token", param=field.name
            )
        if len(ids) > field.longest:
            raise field.too_long(len(ids))
        check_token_ids(ids, context.limits.vocab_size, field.name)
    return result


def _is_ids(value: list[Any]) -> bool:
    return all(type(each) is int for each in value)
