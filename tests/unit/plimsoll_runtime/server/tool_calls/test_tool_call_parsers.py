"""Every parser: what is a call, what is text, and that the cuts between pieces do not matter."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.server.tool_calls.answer import Answer, Call, assemble
from plimsoll_runtime.server.tool_calls.formats import FORMATS
from plimsoll_runtime.server.tool_calls.pieces import (
    CallArguments,
    CallEnd,
    CallStart,
    Piece,
    Text,
    ToolCallParser,
)

FUNCTIONS = frozenset({"f", "get_weather"})
F = '{"name": "f", "arguments": {"a": 1}}'
G = '{"name": "get_weather", "arguments": {"city": "Köln {\\"x\\"}", "n": [1, {"b": null}]}}'
F_CALL = Call("f", '{"a": 1}')
G_CALL = Call("get_weather", '{"city": "Köln {\\"x\\"}", "n": [1, {"b": null}]}')


def parser(name: str) -> ToolCallParser:
    return FORMATS[name].parser(FUNCTIONS)


def pieces(name: str, *parts: str) -> list[Piece]:
    reading = parser(name)
    found = [piece for part in parts for piece in reading.push(part)]
    return [*found, *reading.finish()]


def read(name: str, *parts: str) -> Answer:
    return assemble(pieces(name, *parts))


def tagged(*calls: str) -> str:
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)


def llama(call: str) -> str:
    return call.replace('"arguments"', '"parameters"')


CALLS = [
    ("hermes", tagged(F), "", [F_CALL]),
    ("hermes", tagged(F, G), "", [F_CALL, G_CALL]),
    ("hermes", f"Let me see.\n{tagged(F)}", "Let me see.\n", [F_CALL]),
    ("hermes", f"{tagged(F)}\n\nDone. ", "\n\nDone. ", [F_CALL]),
    ("hermes", f"a {tagged(F)} b {tagged(G)} c", "a  b  c", [F_CALL, G_CALL]),
    ("hermes", f"<tool_call>{F}", "", [F_CALL]),
    ("hermes", f"<tool_call>{F}<tool_call>{G}", "", [F_CALL, G_CALL]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>', "", [F_CALL]),
    ("hermes", tagged('{"arguments": {"a": 1}, "name": "f"}'), "", [F_CALL]),
    ("hermes", tagged('{"name": "f", "arguments": "{\\"a\\": 1}"}'), "", [F_CALL]),
    ("hermes", tagged('{"name": "f"}'), "", [Call("f", "{}")]),
    ("hermes", tagged('{"name": "unheard_of", "arguments": {}}'), "", [Call("unheard_of", "{}")]),
    (
        "hermes",
        tagged('{"name": "f", "arguments": {"a": "</tool_call>"}}'),
        "",
        [Call("f", '{"a": "</tool_call>"}')],
    ),
    ("llama3_json", llama(F), "", [F_CALL]),
    ("llama3_json", F, "", [F_CALL]),
    ("llama3_json", f"  {llama(F)}; {llama(G)}", "", [F_CALL, G_CALL]),
    ("llama3_json", f"{llama(F)}\n{llama(G)}", "", [F_CALL, G_CALL]),
    ("llama3_json", f"<|python_tag|>{llama(F)}", "", [F_CALL]),
    ("llama3_json", f"Wait.<|python_tag|>{llama(F)}", "Wait.", [F_CALL]),
    ("llama3_json", f"<|python_tag|>{llama(F)}; <|python_tag|>{llama(G)}", "", [F_CALL, G_CALL]),
    ("llama3_json", '<|python_tag|>{"name": "g", "parameters": {}}', "", [Call("g", "{}")]),
    ("llama3_json", '{"type": "function", "name": "f", "parameters": {"a": 1}}', "", [F_CALL]),
    ("llama3_json", f"{llama(F)}\nThat is it.", "\nThat is it.", [F_CALL]),
    ("mistral", f"[TOOL_CALLS][{F}]", "", [F_CALL]),
    ("mistral", f"[TOOL_CALLS] [{F}, {G}]", "", [F_CALL, G_CALL]),
    ("mistral", f"Hm. [TOOL_CALLS][{F}] ok", "Hm.  ok", [F_CALL]),
    ("mistral", '[TOOL_CALLS]f{"a": 1}', "", [F_CALL]),
    ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}', "", [F_CALL, Call("g", "{}")]),
    ("mistral", '[TOOL_CALLS]f[CALL_ID]a1b2c3d4e[ARGS]{"a": 1}', "", [F_CALL]),
    ("mistral", '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "abc"}]', "", [F_CALL]),
]
TEXTS = [
    ("hermes", ""),
    ("hermes", " \n"),
    ("hermes", "just text"),
    ("hermes", "a <tool"),
    ("hermes", "a <tool_cal> {}"),
    ("hermes", "<tool_call>"),
    ("hermes", "</tool_call>"),
    ("hermes", F),
    ("hermes", tagged("")),
    ("hermes", tagged("f(a=1)")),
    ("hermes", tagged("[]")),
    ("hermes", tagged('{"name": 7, "arguments": {}}')),
    ("hermes", tagged('{"name": "", "arguments": {}}')),
    ("hermes", tagged('{"name": "f", "arguments": 7}')),
    ("hermes", tagged('{"name": "f", "arguments": "seven"}')),
    ("hermes", tagged('{"name": "\\ud800", "arguments": {}}')),
    ("hermes", tagged('{"arguments": {}, "name": "\\ud800"}')),
    ("hermes", tagged('{"name": "f", "arguments": "{\\"\\ud800\\": 1}"}')),
    ("hermes", tagged('{"name": "f", "arguments": {"a": NaN}}')),
    ("hermes", tagged('{"arguments": {"a": Infinity}, "name": "f"}')),
    ("hermes", tagged('{"name": "f", "arguments": {"a": }}')),
    ("hermes", tagged('{"name": "f", "arguments": {"a": 1]}}')),
    ("hermes", tagged("{'name': 'f', 'arguments': {}}")),
    ("hermes", '<tool_call>{"name": "f", "argu'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "b'),
    ("hermes", tagged("{" * 2000)),
    ("hermes", tagged('{"a":' * 2000 + "1" + "}" * 2000)),
    ("llama3_json", ""),
    ("llama3_json", "text"),
    ("llama3_json", '{"answer": 42}'),
    ("llama3_json", '{"name": "Ada", "parameters": {}}'),
    ("llama3_json", f"Like this: {F}"),
    ("llama3_json", '<|python_tag|>brave_search.call(query="x")'),
    ("llama3_json", "<|python_tag|>"),
    ("llama3_json", "<|python"),
    ("llama3_json", '{"name": "f", "parameters": {"a": '),
    ("llama3_json", "{{{{"),
    ("mistral", "text [TOOL"),
    ("mistral", "[TOOL_CALLS]"),
    ("mistral", "[TOOL_CALLS] nothing of the kind"),
    ("mistral", "[TOOL_CALLS][]"),
    ("mistral", "[TOOL_CALLS][1]"),
    ("mistral", "[TOOL_CALLS][,]"),
    ("mistral", '[TOOL_CALLS]f{"a": '),
    ("mistral", "[TOOL_CALLS]" + "x" * 1000),
    ("mistral", '[TOOL_CALLS]two words{"a": 1}'),
]


@pytest.mark.parametrize(("name", "text", "content", "calls"), CALLS)
def test_calls(name: str, text: str, content: str, calls: list[Call]) -> None:
    assert read(name, text) == Answer(content, tuple(calls))


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_what_is_no_call_stays_text(name: str, text: str) -> None:
    assert read(name, text) == Answer(text, ())


@pytest.mark.parametrize(("name", "text"), [case[:2] for case in CALLS] + TEXTS)
def test_single_characters_read_the_same(name: str, text: str) -> None:
    assert read(name, *text) == read(name, text)


def test_arguments_come_as_they_are_written() -> None:
    text = tagged(G)
    reading = parser("hermes")
    found: list[Piece] = []
    started_at = None
    for position, char in enumerate(text):
        found += reading.push(char)
        if started_at is None and CallStart("get_weather") in found:
            started_at = position
    assert started_at == text.index('{"city"')
    arguments = [piece.text for piece in found if isinstance(piece, CallArguments)]
    assert "".join(arguments) == G_CALL.arguments
    assert max(map(len, arguments)) == 1


def test_text_is_held_back_only_while_it_may_be_a_call() -> None:
    reading = parser("hermes")
    assert reading.push("1 < 2 <") == [Text("1 < 2 ")]
    assert reading.push("tool_") == []
    assert reading.push("box>") == [Text("<tool_box>")]


def test_a_call_that_failed_is_text_at_once() -> None:
    assert text(parser("hermes").push("<tool_call>{'")) == "<tool_call>{'"
    assert text(parser("llama3_json").push('{"name": "nobody", "parameters": {')) != ""
    assert text(parser("mistral").push("[TOOL_CALLS]two words {")) != ""


def text(found: list[Piece]) -> str:
    return "".join(piece.text for piece in found if isinstance(piece, Text))


WORDS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
        *(F, G, llama(F), '{"name": "f", "arguments": ', '{"name": "f", "parameters": {', "f", "{"),
        *(
            '"\\ud800"',
            "NaN",
            "}",
            "[",
            "]",
            ",",
            ";",
            '"',
            "\\",
            " ",
            "\n",
            "<",
            "text",
            '"name"',
            ":",
            "é",
            "null",
        ),
    ]
)
ANSWERS = st.sampled_from([case[1] for case in CALLS] + [text for _, text in TEXTS])
FRAGMENTS = WORDS | st.text(max_size=5) | ANSWERS
TEXT = st.lists(FRAGMENTS, max_size=8).map("".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)
NAMES = st.sampled_from(sorted(FORMATS))


def cut(text: str, cuts: list[int]) -> list[str]:
    ends = [0, *sorted(min(each, len(text)) for each in cuts), len(text)]
    return [text[start:stop] for start, stop in pairwise(ends)]


def joined(found: list[Piece]) -> list[Piece]:
    """Neighbours of one kind as one."""
    result: list[Piece] = []
    for piece in found:
        last = result[-1] if result else None
        if isinstance(piece, Text) and isinstance(last, Text):
            result[-1] = Text(last.text + piece.text)
        elif isinstance(piece, CallArguments) and isinstance(last, CallArguments):
            result[-1] = CallArguments(last.text + piece.text)
        else:
            result.append(piece)
    return result


@given(name=NAMES, text=TEXT, cuts=CUTS)
def test_cuts_do_not_matter(name: str, text: str, cuts: list[int]) -> None:
    assert joined(pieces(name, *cut(text, cuts))) == joined(pieces(name, text))


@given(name=NAMES, text=TEXT)
def test_pieces_come_in_order_and_nothing_is_lost(name: str, text: str) -> None:
    found = pieces(name, text)
    open_call = False
    for piece in found:
        match piece:
            case Text():
                assert not open_call
                assert piece.text
            case CallStart():
                assert not open_call
                assert piece.name
                open_call = True
            case CallArguments():
                assert open_call
                assert piece.text
            case CallEnd():
                assert open_call
                open_call = False
    assert not open_call
    sources = [piece.source if isinstance(piece, CallEnd) else "" for piece in found]
    shown = "".join(
        piece.text if isinstance(piece, Text) else source
        for piece, source in zip(found, sources, strict=True)
    )
    # Whitespace between calls is dropped, and the bracket that closes Mistral's list of them.
    assert words(shown) == words(text)


@given(name=NAMES, text=TEXT)
def test_whatever_is_found_can_be_sent(name: str, text: str) -> None:
    answer = read(name, text)
    for call in answer.calls:
        assert isinstance(json.loads(call.arguments), dict)
        (call.name + call.arguments).encode()
    answer.content.encode()


def words(text: str) -> str:
    return "".join(text.replace("]", "").split())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=3)
WRITERS: dict[str, Callable[[list[tuple[str, Any]]], str]] = {
    "hermes": lambda calls: tagged(
        *(json.dumps({"name": name, "arguments": value}) for name, value in calls)
    ),
    "llama3_json": lambda calls: "; ".join(
        json.dumps({"name": name, "parameters": value}, ensure_ascii=False) for name, value in calls
    ),
    "mistral": lambda calls: (
        "[TOOL_CALLS]" + json.dumps([{"name": name, "arguments": value} for name, value in calls])
    ),
}


@given(
    name=NAMES,
    calls=st.lists(
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), ARGUMENTS), min_size=1, max_size=3
    ),
    cuts=CUTS,
)
def test_well_formed_calls_are_read_back(
    name: str, calls: list[tuple[str, Any]], cuts: list[int]
) -> None:
    text = WRITERS[name](calls)
    answer = read(name, *cut(text, cuts))
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == calls
    assert answer.content == ""
