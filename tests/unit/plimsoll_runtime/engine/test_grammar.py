"""Answers that follow a grammar parse and are what the schema says, whatever the model wants."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from plimsoll_runtime import builtin
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import ScheduledRequest, TokenHistory
from plimsoll_runtime.engine.choice import TokenChooser
from plimsoll_runtime.engine.grammar import (
    MAX_PREPARED,
    GrammarCompiler,
    GrammarError,
    GrammarState,
    allowed_tokens,
)
from plimsoll_runtime.server.structured import response_grammar
from plimsoll_runtime.server.tokenizer import load_tokenizer

VOCAB = 2048
EOS = (1, 5)
FOLDER = builtin.path("tiny")
TOKENIZER = load_tokenizer(FOLDER)
READ = (FOLDER / "tokenizer.json").read_text
COMPILER = GrammarCompiler(READ, VOCAB, EOS)
LETTERS = [each for each in range(VOCAB) if TOKENIZER.decode([each]).isalpha()]


def grammar(schema: dict[str, Any]) -> str:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    made = response_grammar(asked)
    assert made is not None
    return made


def step(made: str, output: list[int], request_id: str = "a", **fields: Any) -> ScheduledRequest:
    sampling = SamplingParams(max_tokens=999, stop_token_ids=frozenset(EOS), grammar=made, **fields)
    history = TokenHistory([7], output.copy())
    return ScheduledRequest(request_id, [0], 0, [0], True, len(output), sampling, history)


def answer(made: str, seed: int, temperature: float = 1.0, forget: bool = False) -> str:
    """What a model with random wishes says until its end-of-sequence token."""
    chooser = TokenChooser(COMPILER)
    wishes = torch.Generator().manual_seed(seed)
    output: list[int] = []
    while len(output) < 600:
        logits = torch.randn(1, VOCAB, generator=wishes) * 4
        item = step(made, output, temperature=temperature, seed=seed)
        choices = chooser.choose(logits, [item])
        assert not choices.refused, choices.refused
        output.append(choices.sampled["a"])
        if output[-1] in EOS:
            return TOKENIZER.decode(output[:-1])
        if forget:
            chooser = TokenChooser(COMPILER)
    raise AssertionError(f"no end: {TOKENIZER.decode(output)!r}")


NAMES = st.sampled_from(["a", "name", "größe", "two words", "日本"])
LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-1000, 1000),
        st.integers(0, 5000),
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    st.lists(st.sampled_from(["x", "é", 'a"b', 1, None, True, "日"]), min_size=1, max_size=3).map(
        lambda values: {"enum": values}
    ),
    st.just({"type": "string", "pattern": "^[a-c]{2,4}$"}),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.builds(
            lambda items, low, more: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + more,
            },
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.builds(
            lambda properties, count: {
                "type": "object",
                "properties": properties,
                "required": list(properties)[:count],
                "additionalProperties": False,
            },
            st.dictionaries(NAMES, inner, max_size=3),
            st.integers(0, 3),
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options}),
    )


SCHEMAS = st.recursive(LEAVES, nested, max_leaves=5)


def is_valid(value: Any, schema: dict[str, Any]) -> bool:  # noqa: PLR0911
    """Of the keywords that `SCHEMAS` has."""
    if "anyOf" in schema:
        return any(is_valid(value, each) for each in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(each) and value == each for each in schema["enum"])
    match schema["type"]:
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            # 4.0 is an integer to JSON Schema.
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and schema["minimum"] <= value <= schema["maximum"] and value % 1 == 0
        case "string":
            if not isinstance(value, str):
                return False
            if "pattern" in schema:
                return 2 <= len(value) <= 4 and set(value) <= set("abc")
            return bool(schema["minLength"] <= len(value) <= schema["maxLength"])
        case "array":
            count = isinstance(value, list) and schema["minItems"] <= len(value)
            return (
                count
                and len(value) <= schema["maxItems"]
                and all(is_valid(each, schema["items"]) for each in value)
            )
    known = schema["properties"]
    return (
        isinstance(value, dict)
        and set(schema["required"]) <= set(value) <= set(known)
        and all(is_valid(each, known[name]) for name, each in value.items())
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 1.0]))
def test_every_answer_parses_and_is_valid(
    schema: dict[str, Any], seed: int, temperature: float
) -> None:
    text = answer(grammar(schema), seed, temperature)
    assert is_valid(json.loads(text), schema), text


def test_the_validator_of_this_file_can_say_no() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 2}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert is_valid({"a": 1}, schema)
    for wrong in ({}, {"a": 3}, {"a": True}, {"a": 1.5}, {"a": 1, "b": 1}, [], None):
        assert not is_valid(wrong, schema)


def test_json_object_gives_an_object() -> None:
    made = response_grammar({"type": "json_object"})
    assert made is not None
    # Any object may go on for long: these end by chance.
    texts = []
    for seed in range(12):
        try:
            texts.append(answer(made, seed))
        except AssertionError as error:
            assert "no end" in str(error)  # noqa: PT017
    assert len(texts) > 1
    assert all(isinstance(json.loads(text), dict) for text in texts)


def test_a_preemption_changes_nothing() -> None:
    """The state is made again from the tokens so far, as often as you like."""
    made = grammar(
        {
            "type": "array",
            "items": {"type": "string", "maxLength": 5},
            "minItems": 3,
            "maxItems": 3,
        }
    )
    for seed in range(5):
        assert answer(made, seed, forget=True) == answer(made, seed)


def test_neighbours_follow_their_own_grammars_or_none() -> None:
    word = grammar({"enum": ["yes", "no"]})
    number = grammar({"type": "integer", "minimum": 10, "maximum": 99})
    free = SamplingParams(max_tokens=9, temperature=0.0)
    chooser = TokenChooser(COMPILER)
    outputs: dict[str, list[int]] = {"word": [], "number": [], "free": []}
    rng = torch.Generator().manual_seed(0)
    for index in range(6):
        items = [
            step(word, outputs["word"], "word", seed=1),
            ScheduledRequest("free", [0], 0, [0], True, index, free),
            step(number, outputs["number"], "number", seed=2),
        ]
        items = [each for each in items if not {*EOS} & {*outputs[each.request_id]}]
        logits = torch.randn(len(items), VOCAB, generator=rng)
        for name, token in chooser.choose(logits, items).sampled.items():
            outputs[name].append(token)
            if name == "free":
                row = [each.request_id for each in items].index("free")
                assert token == int(logits[row].argmax())
    assert json.loads(TOKENIZER.decode(outputs["word"])) in ("yes", "no")
    assert 10 <= json.loads(TOKENIZER.decode(outputs["number"])) <= 99


def test_a_grammar_that_becomes_too_much_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_runtime.engine.grammar.STEP_LEXER_FUEL", 200)
    compiler = GrammarCompiler(READ, VOCAB, EOS)
    costly = grammar(
        {
            "type": "object",
            "properties": {"a": {"type": "string", "pattern": "^(a|b)*a(a|b){12}$"}},
            "required": ["a"],
        }
    )
    begun = TOKENIZER.encode('{"a":"', add_special_tokens=False)
    free = ScheduledRequest("free", [0], 0, [0], True, 0, SamplingParams(9, temperature=0.0))
    logits = torch.randn(2, VOCAB, generator=torch.Generator().manual_seed(0))
    chooser = TokenChooser(compiler)
    assert "a" in chooser.choose(logits, [step(costly, [], seed=0), free]).sampled
    made = chooser.choose(logits, [step(costly, begun, seed=0), free])
    assert "response_format" in made.refused["a"]
    assert made.sampled == {"free": int(logits[1].argmax())}


def test_a_token_that_the_grammar_does_not_allow_is_told() -> None:
    state = COMPILER.compile(grammar({"type": "boolean"}))
    state.take([300])
    assert state.error is not None
    assert not allowed_tokens([state], VOCAB).any()
    refused = TokenChooser(COMPILER).choose(
        torch.zeros(1, VOCAB), [step(grammar({"type": "boolean"}), [300], seed=0)]
    )
    assert "a" in refused.refused


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "foo"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"enum": []},
        {"not": {"type": "string"}},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "format": "no-such-format"},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
    ],
)
def test_what_cannot_be_followed_is_an_error(schema: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        COMPILER.compile(grammar(schema))


def test_without_an_end_or_a_tokenizer_there_are_no_grammars(tmp_path: Any) -> None:
    made = grammar({"type": "boolean"})
    for source, size, eos in (
        (READ, VOCAB, ()),
        (READ, VOCAB, (VOCAB,)),
        (READ, 100, EOS),
        ((tmp_path / "tokenizer.json").read_text, VOCAB, EOS),
        (lambda: "{}", VOCAB, EOS),
    ):
        with pytest.raises(GrammarError):
            GrammarCompiler(source, size, eos).compile(made)


def test_a_model_with_more_logits_than_tokens_never_says_the_rest() -> None:
    compiler = GrammarCompiler(READ, VOCAB + 45, EOS)
    state = compiler.compile(grammar({"type": "string"}))
    words = allowed_tokens([state], VOCAB + 45)
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    assert bits[:VOCAB].any()
    assert not bits[VOCAB:].any()


def test_what_was_prepared_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = GrammarCompiler(READ, VOCAB, EOS)
    compiled: list[str] = []
    compile_now = GrammarCompiler._compile

    def told(self: GrammarCompiler, text: str) -> LLMatcher:
        compiled.append(text)
        return compile_now(self, text)

    monkeypatch.setattr(GrammarCompiler, "_compile", told)
    one, other = grammar({"enum": ["x"]}), grammar({"enum": ["y"]})
    for text in (one, other, one):
        compiler.prepare(text)
    for text in (one, one, other):
        compiler.compile(text)
    assert compiled == [one, other, one]
    compiler.compile(one)
    assert compiled == [one, other, one, one]


def test_what_is_prepared_and_never_used_is_bounded() -> None:
    compiler = GrammarCompiler(READ, VOCAB, EOS)
    for index in range(MAX_PREPARED + 5):
        compiler.prepare(grammar({"enum": [f"x{index}"]}))
    assert len(compiler._prepared) == MAX_PREPARED


def test_an_answer_that_uses_up_its_grammar_takes_nothing_from_others() -> None:
    """The library bounds a lexer's states, and its copies of a grammar share one lexer."""
    compiler = GrammarCompiler(READ, VOCAB, EOS)
    costly = grammar({"type": "string", "pattern": "^[a-z ]*[a-m][a-z ]{14}$"})
    neighbour = compiler.compile(costly)
    assert "too many states" in (rambles(compiler.compile(costly)) or "")
    assert allowed_tokens([neighbour, compiler.compile(costly)], VOCAB).any(axis=1).all()
    assert neighbour.error is None


def rambles(state: GrammarState) -> str | None:
    """The error that a string of random letters ends with."""
    state.take(TOKENIZER.encode('"', add_special_tokens=False))
    rng = np.random.default_rng(0)
    for _ in range(400):
        bits = np.unpackbits(allowed_tokens([state], VOCAB).view(np.uint8), bitorder="little")
        if state.error is not None:
            break
        state.take([int(rng.choice(np.intersect1d(bits.nonzero()[0], LETTERS)))])
    return state.error


class PanicException(BaseException):
    """What a panic in Rust looks like from Python."""


class Panics:
    """A matcher that panics when it is asked for what `when` names."""

    def __init__(self, when: str, error: BaseException) -> None:
        self.when = when
        self.error = error

    def __getattr__(self, name: str) -> Any:
        def call(*_: object) -> bool:
            if name == self.when:
                raise self.error
            return False

        return call


@pytest.mark.parametrize("when", ["consume_tokens", "unsafe_compute_mask_ptr"])
def test_a_panic_of_the_library_is_an_error_of_one_answer(when: str) -> None:
    fine = COMPILER.compile(grammar({"type": "boolean"}))
    state = GrammarState(Panics(when, PanicException()))  # type: ignore[arg-type]
    state.take([3])
    words = allowed_tokens([state, fine], VOCAB)
    assert state.error == "the grammar library failed"
    assert not words[0].any()
    assert words[1].any()
    state = GrammarState(Panics(when, KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        state.take([3]) if when == "consume_tokens" else allowed_tokens([state], VOCAB)
