"""How each format spells calls, for answers that are forced to be calls."""

from dataclasses import dataclass

from plimsoll_runtime.server.tool_calls import hermes, mistral

CALL_ID = "[CALL_ID]"
ARGS = "[ARGS]"
NAME = "{name}"


@dataclass(frozen=True)
class CallShape:
    """An answer is `begin`, a call, perhaps more calls each after `separator`, and `end`.

    A call is `before_arguments` with the function's name for `NAME`, the arguments' JSON object,
    and `after_arguments`. An id of nine letters and digits follows each `CALL_ID`.
    """

    before_arguments: str
    after_arguments: str = ""
    begin: str = ""
    separator: str = ""
    end: str = ""


HERMES = CallShape(
    f'{hermes.OPEN}\n{{"name": "{NAME}", "arguments": ', f"}}\n{hermes.CLOSE}", separator="\n"
)
LLAMA = CallShape(f'{{"name": "{NAME}", "parameters": ', "}", separator="; ")
MISTRAL_LIST = CallShape(f'{{"name": "{NAME}", "arguments": ', "}", f"{mistral.MARKER}[", ", ", "]")
MISTRAL_NAMED = CallShape(f"{mistral.MARKER}{NAME}{ARGS}")
MISTRAL_WITH_ID = CallShape(f"{mistral.MARKER}{NAME}{CALL_ID}{ARGS}")


def shape_of(format_name: str, template: str) -> CallShape:
    """The shape that the model of a format in FORMATS learnt; Mistral's differ by generation.

    Llama's calls come without the tag, which its templates keep for built-in tools.
    """
    if format_name == "hermes":
        return HERMES
    if format_name == "llama3_json":
        return LLAMA
    if format_name != "mistral":
        raise ValueError(f"no shape of calls is known for the format {format_name!r}")
    if CALL_ID in template:
        return MISTRAL_WITH_ID
    return MISTRAL_NAMED if ARGS in template else MISTRAL_LIST
