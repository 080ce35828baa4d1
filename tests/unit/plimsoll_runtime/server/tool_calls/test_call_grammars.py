"""Whatever a model wishes, a forced answer is a call that the format's own parser reads."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as HFTokenizer

from plimsoll_runtime import builtin
from plimsoll_runtime.engine.grammar import GrammarCompiler, allowed_tokens
from plimsoll_runtime.server.structured import schema_grammar
from plimsoll_runtime.server.tokenizer import load_tokenizer
from plimsoll_runtime.server.tool_calls.answer import Answer, assemble
from plimsoll_runtime.server.tool_calls.call_grammar import call_grammar
from plimsoll_runtime.server.tool_calls.call_shapes import shape_of
from plimsoll_runtime.server.tool_calls.formats import FORMATS

EOS = (1, 5)
TINY = load_tokenizer(builtin.path("tiny")).hf
TEMPLATES = {
    "hermes": [""],
    "llama3_json": [""],
    "mistral": ["[TOOL_CALLS] [", "[TOOL_CALLS]x[ARGS]", "[TOOL_CALLS]x[CALL_ID]1[ARGS]"],
}
CASES = [(name, template) for name in sorted(FORMATS) for template in TEMPLATES[name]]
SCHEMAS: dict[str, dict[str, Any]] = {
    "paint": {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "</tool_call>", 'a"b']},
            "n": {"type": "boolean"},
        },
        "required": ["colour", "n"],
        "additionalProperties": False,
    },
    "say-it_2": {
        "type": "object",
        "$defs": {"word": {"type": "string", "maxLength": 3}},
        "properties": {
            "words": {"type": "array", "items": {"$ref": "#/$defs/word"}, "maxItems": 2}
        },
        "required": ["words"],
        "additionalProperties": False,
    },
}


def tokenizers() -> dict[str, HFTokenizer]:
    """By how they know markers: as text, as tokens of their own, as special tokens."""
    markers = sorted({marker for form in FORMATS.values() for marker in form.markers})
    made = {"text": TINY}
    for name, special in (("token", False), ("special", True)):
        made[name] = HFTokenizer.from_str(TINY.to_str())
        add = made[name].add_special_tokens if special else made[name].add_tokens
        add([AddedToken(marker, special=special, normalized=False) for marker in markers])
    return made


TOKENIZERS = tokenizers()
COMPILERS = {
    name: GrammarCompiler(hf.to_str, hf.get_vocab_size(), EOS) for name, hf in TOKENIZERS.items()
}


def grammar_for(form: str, template: str, kind: str, *names: str, several: bool = False) -> str:
    known = {token: TOKENIZERS[kind].token_to_id(token) for token in FORMATS[form].markers}
    tokens = {token: token_id for token, token_id in known.items() if token_id is not None}
    functions = {name: schema_grammar(SCHEMAS[name], name, "tools") for name in names}
    return call_grammar(shape_of(form, template), functions, tokens, several=several)


def spoken(kind: str, grammar: str, seed: int) -> list[int]:
    """What a model of random wishes says until it may end."""
    random = np.random.default_rng(seed)
    vocabulary = TOKENIZERS[kind].get_vocab_size()
    state = COMPILERS[kind].compile(grammar)
    output: list[int] = []
    while len(output) < 900:
        bits = np.unpackbits(allowed_tokens([state], vocabulary).view(np.uint8), bitorder="little")
        assert state.error is None, state.error
        allowed = np.nonzero(bits)[0]
        if set(EOS) & set(allowed.tolist()):
            return output
        output.append(int(random.choice(allowed)))
        state.take(output[-1:])
    raise AssertionError(f"no end: {TOKENIZERS[kind].decode(output)!r}")


def read(form: str, kind: str, output: list[int]) -> Answer:
    text = TOKENIZERS[kind].decode(output, skip_special_tokens=False)
    parser = FORMATS[form].parser(frozenset(SCHEMAS))
    return assemble([*parser.push(text), *parser.finish()])


def follows(name: str, arguments: str) -> bool:
    value = json.loads(arguments)
    if name == "paint":
        colours = SCHEMAS["paint"]["properties"]["colour"]["enum"]
        return (
            value.keys() == {"colour", "n"}
            and value["colour"] in colours
            and value["n"]
            in (
                True,
                False,
            )
        )
    words = value["words"]
    return (
        value.keys() == {"words"}
        and len(words) <= 2
        and all(isinstance(word, str) and len(word) <= 3 for word in words)
    )


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
@pytest.mark.parametrize(("form", "template"), CASES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(SCHEMAS)))
def test_a_forced_answer_is_exactly_one_call(
    form: str, template: str, kind: str, seed: int, name: str
) -> None:
    answer = read(form, kind, spoken(kind, grammar_for(form, template, kind, name), seed))
    assert answer.content == ""
    (call,) = answer.calls
    assert call.name == name
    assert follows(name, call.arguments)


@pytest.mark.parametrize(("form", "template"), CASES)
def test_any_of_the_functions_may_be_called(form: str, template: str) -> None:
    grammar = grammar_for(form, template, "special", *SCHEMAS)
    answers = [read(form, "special", spoken("special", grammar, seed)) for seed in range(20)]
    assert {call.name for answer in answers for call in answer.calls} == set(SCHEMAS)
    assert all(len(answer.calls) == 1 for answer in answers)


@pytest.mark.parametrize(("form", "template"), CASES)
def test_several_calls_are_read_as_several(form: str, template: str) -> None:
    grammar = grammar_for(form, template, "text", "paint", several=True)
    one = read(form, "text", spoken("text", grammar, 1)).calls[0]
    state = COMPILERS["text"].compile(grammar)
    shape = shape_of(form, template)
    call = shape.before_arguments.replace("{name}", one.name).replace(
        "[CALL_ID]", "[CALL_ID]abcdefghi"
    )
    call += one.arguments + shape.after_arguments
    text = shape.begin + shape.separator.join([call] * 3) + shape.end
    state.take(TINY.encode(text, add_special_tokens=False).ids)
    assert state.error is None, text
    parser = FORMATS[form].parser(frozenset(SCHEMAS))
    answer = assemble([*parser.push(text), *parser.finish()])
    assert answer == Answer("", (one,) * 3)


@pytest.mark.parametrize("kind", ["token", "special"])
@pytest.mark.parametrize(("form", "template"), [case for case in CASES if case[0] != "llama3_json"])
def test_a_marker_that_is_a_token_is_not_spelled(form: str, template: str, kind: str) -> None:
    grammar = grammar_for(form, template, kind, "paint")
    marker = FORMATS[form].markers[0]
    assert spoken(kind, grammar, 3)[0] == TOKENIZERS[kind].token_to_id(marker)
    as_text = COMPILERS[kind].compile(grammar)
    as_text.take(TINY.encode(marker, add_special_tokens=False).ids)
    assert as_text.error is not None


def test_a_format_without_a_shape_is_told() -> None:
    with pytest.raises(ValueError, match="pythonic"):
        shape_of("pythonic", "")
