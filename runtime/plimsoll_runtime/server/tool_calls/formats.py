"""How models write calls, and which model writes which."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from plimsoll_runtime.server.tool_calls import hermes, llama, mistral
from plimsoll_runtime.server.tool_calls.pieces import ToolCallParser


@dataclass(frozen=True)
class ToolCallFormat:
    """`name` is vLLM's. `parser` makes a parser for one answer, given the functions there are.

    `markers` must be in the text where the tokenizer counts them as special. `id_prefix` and as
    many of `id_digits` hexadecimal digits make a call's id that the model's template accepts.
    """

    name: str
    parser: Callable[[Collection[str]], ToolCallParser]
    markers: tuple[str, ...]
    id_prefix: str = "call_"
    id_digits: int = 24


FORMATS = {
    each.name: each
    for each in (
        ToolCallFormat("hermes", lambda _: hermes.HermesParser(), (hermes.OPEN, hermes.CLOSE)),
        ToolCallFormat("llama3_json", llama.LlamaParser, (llama.TAG,)),
        # Mistral's templates refuse ids that are not nine letters and digits.
        ToolCallFormat(
            "mistral",
            lambda _: mistral.MistralParser(),
            (mistral.MARKER, "[CALL_ID]", "[ARGS]"),
            id_prefix="",
            id_digits=9,
        ),
    )
}

OTHER_MARKUP = ("<function=", "<arg_key>")
"""Formats of other models whose templates mention a known format's marker too."""


def detect(template: str) -> ToolCallFormat | None:
    """The format that a chat template teaches its model; None where that is not clear."""
    if any(each in template for each in OTHER_MARKUP):
        return None
    if mistral.MARKER in template:
        return FORMATS["mistral"]
    if hermes.OPEN in template:
        return FORMATS["hermes"]
    if llama.TAG in template or '{"name": function name, "parameters"' in template:
        return FORMATS["llama3_json"]
    return None
