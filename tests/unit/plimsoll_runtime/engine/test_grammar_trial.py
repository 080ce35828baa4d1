"""Grammars are tried out where nothing can go on for ever, and nobody else waits."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from plimsoll_runtime import builtin
from plimsoll_runtime.engine import grammar_trial
from plimsoll_runtime.engine.grammar import GrammarError
from plimsoll_runtime.engine.grammar_trial import TOO_MUCH, GrammarTrial
from plimsoll_runtime.server.structured import response_grammar

READ = (builtin.path("tiny") / "tokenizer.json").read_text
ENDLESS = {
    "allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{length}}}"} for length in range(3, 30)]
}


def grammar(schema: dict[str, Any]) -> str:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    made = response_grammar(asked)
    assert made is not None
    return made


@pytest.fixture
def trial() -> Iterator[GrammarTrial]:
    made = GrammarTrial(READ, 2048, (1, 5))
    yield made
    made.close()


def pid(trial: GrammarTrial) -> int | None:
    return trial._process.pid if trial._process is not None else None


def test_good_and_bad_grammars_are_told_apart_by_one_process(trial: GrammarTrial) -> None:
    assert pid(trial) is None
    trial.check(grammar({"type": "boolean"}))
    first = pid(trial)
    with pytest.raises(GrammarError, match="foo"):
        trial.check(grammar({"type": "foo"}))
    trial.check(grammar({"type": "string", "pattern": "^(ü|中)+$"}))
    assert first is not None
    assert pid(trial) == first


def test_one_that_takes_for_ever_is_refused_and_the_next_is_served(trial: GrammarTrial) -> None:
    started = time.monotonic()
    with pytest.raises(GrammarError, match=TOO_MUCH):
        trial.check(grammar(ENDLESS))
    assert time.monotonic() - started > grammar_trial.CPU_SECONDS / 2
    assert pid(trial) is None
    trial.check(grammar({"type": "boolean"}))


def test_what_is_known_to_be_good_needs_no_process(
    trial: GrammarTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_trial, "MAX_KNOWN", 2)
    good = [grammar({"enum": [index]}) for index in range(3)]
    for each in good:
        trial.check(each)
    assert len(trial._known) == 2
    process = trial._process
    assert process is not None
    process.kill()
    process.wait()
    trial.check(good[2])
    with pytest.raises(GrammarError):
        trial.check(good[0])
    trial.check(good[0])


def test_a_tokenizer_that_does_not_fit_is_told() -> None:
    trial = GrammarTrial(READ, 100, (1, 5))
    try:
        with pytest.raises(GrammarError, match="tokenizer"):
            trial.check(grammar({"type": "boolean"}))
    finally:
        trial.close()


def test_closing_ends_the_process_and_who_waits_for_it(trial: GrammarTrial) -> None:
    trial.check(grammar({"type": "boolean"}))
    process = trial._process
    assert process is not None
    raised: list[Exception] = []

    def wait() -> None:
        try:
            trial.check(grammar(ENDLESS))
        except GrammarError as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    trial.close()
    waiter.join(10)
    assert len(raised) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    with pytest.raises(GrammarError):
        trial.check(grammar({"type": "null"}))
