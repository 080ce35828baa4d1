"""Traffic that calibrates an engine: prompts alone, then more and more sequences that decode.

The engine tells how long its steps took. What passes outside of them, HTTP, tokenization and
delivery, is seen by a client, and is CPU time of the server's process and of that client.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from e2e.measured.client import Record, Sending
from e2e.measured.engine import Engine
from e2e.measured.work import Work, work_of
from plimsoll_planner.calibration.fit import Sample

PROMPTS = (4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 500)
"""Tokens of those that come one by one while a sequence decodes, each in one step."""
REPEATS = 6
ALONE = (16, 64, 128, 900)
"""Tokens of those that come to an engine with nothing else to do; the last takes two steps."""
ALONE_TOKENS = 2
MOST_BESIDE = 2
"""Sequences of a step whose sums tell what its one prompt meets."""
BATCHES = (1, 2, 4, 8, 16, 32)
CONTEXTS = (32, 160, 480)
"""Tokens of the prompts that decode together, on average: from a quarter to seven quarters of it,
since attention's cost depends on how much they differ."""
MOST_CONTEXT = 6000
"""Tokens of a batch in sum."""
BATCH_TOKENS = 24
PATIENCE, PAUSE_SECONDS = 1.5, 0.01
"""The next prompt comes after so many times the seconds that the first took, and a pause."""
IDLE_SECONDS = 0.1


@dataclass(frozen=True)
class Probed:
    """Steps; of the requests of `ALONE`, one after the other, the seconds outside of steps before a
    first token; and what the frontend did, empty where it was not measured."""

    samples: tuple[Sample, ...]
    request_seconds: tuple[float, ...]
    work: tuple[Work, ...] = ()

    def plain(self) -> dict[str, list[Any]]:
        """As lists of numbers."""
        return {
            "samples": plain_samples(self.samples),
            "request_seconds": list(self.request_seconds),
            "work": list(map(list, self.work)),
        }

    @classmethod
    def of(cls, plain: dict[str, list[Any]]) -> "Probed":
        """From `plain`."""
        return cls(
            samples_of(plain["samples"]),
            tuple(plain["request_seconds"]),
            work_of(plain.get("work", ())),
        )


def plain_samples(samples: Iterable[Sample]) -> list[list[float]]:
    """As lists of numbers: tokens, sequences, context, pairs, seconds."""
    return [[s.tokens, s.sequences, s.context, int(s.pairs), s.seconds] for s in samples]


def samples_of(plain: Iterable[Sequence[float]]) -> tuple[Sample, ...]:
    """From `plain_samples`."""
    return tuple(
        Sample(int(tokens), int(sequences), int(context), seconds, int(pairs))
        for tokens, sequences, context, pairs, seconds in plain
    )


class Prompts:
    """Prompts of random tokens, no two alike."""

    def __init__(self, vocab_size: int, seed: int = 0) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._tokens = tokens_of(vocab_size)

    def body(self, prompt_tokens: int, output_tokens: int) -> dict[str, Any]:
        """A request for so many tokens."""
        return body(self._chance.choices(self._tokens, k=prompt_tokens), output_tokens)


def tokens_of(vocab_size: int) -> range:
    """What prompts are made of: without the special tokens and bytes that vocabularies begin
    with."""
    return range(min(512, vocab_size // 2), vocab_size)


def body(prompt: Sequence[int], output_tokens: int) -> dict[str, Any]:
    """A streamed completion of exactly `output_tokens` tokens."""
    return {
        "model": "model",
        "prompt": list(prompt),
        "max_tokens": output_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "return_token_ids": True,
    }


def probe(engine: Engine, vocab_size: int) -> Probed:
    """Sends the calibrating traffic."""
    prompts = Prompts(vocab_size)
    engine.send([Sending(0.0, prompts.body(16, 16)) for _ in range(2)])
    engine.steps()  # the first ones are slow
    engine.work.clear()
    samples: list[Sample] = []
    outside: list[float] = []
    most = engine.limits()["max_model_len"] - 8
    for length in PROMPTS:
        engine.steps()
        (first,) = engine.send([Sending(0.0, prompts.body(length, ALONE_TOKENS))])
        gap = PATIENCE * first.tokens[-1] + PAUSE_SECONDS
        # By the engine's clock: to a client tokens may come together.
        beside = min(most, 8 + round(REPEATS * gap / engine.steps()[-1].seconds))
        sendings = [Sending(0.0, prompts.body(8, beside))]
        sendings += [
            Sending((i + 0.5) * gap, prompts.body(length, ALONE_TOKENS)) for i in range(REPEATS)
        ]
        engine.steps()
        engine.send(sendings)
        samples += _balanced(engine.steps())
    for length in ALONE:
        (first,) = engine.send([Sending(0.0, prompts.body(length, ALONE_TOKENS))])
        gap = PATIENCE * first.tokens[-1] + IDLE_SECONDS
        engine.steps()
        sent = engine.send(
            [Sending(i * gap, prompts.body(length, ALONE_TOKENS)) for i in range(REPEATS)]
        )
        steps = engine.steps()
        outside += _outside(sent, steps)
        samples += [step for step in steps if step.context > max(PROMPTS)]
    for count, context in batches():
        lengths = _spread(context, count)
        together = [Sending(0.0, prompts.body(length, BATCH_TOKENS)) for length in lengths]
        engine.send(together)
        samples += [step for step in engine.steps() if step.tokens == step.sequences]
    return Probed(tuple(samples), tuple(outside), tuple(engine.work))


def _balanced(steps: Sequence[Sample]) -> list[Sample]:
    """The steps with a prompt alone or beside the one that decodes, and as many without: every
    step counts in the fit, and most are of the latter kind."""
    prompts = [s for s in steps if s.tokens > s.sequences and s.sequences <= MOST_BESIDE]
    decoding = [s for s in steps if s.tokens == s.sequences]
    return prompts + decoding[:: max(1, len(decoding) // max(1, len(prompts)))]


def batches() -> Iterator[tuple[int, int]]:
    """Sequences and the tokens of each one's prompt."""
    for count in BATCHES:
        for context in CONTEXTS:
            if count * context <= MOST_CONTEXT:
                yield count, context


def _spread(mean: int, count: int) -> list[int]:
    """Evenly from a quarter to seven quarters of `mean`; one alone has `mean`."""
    if count == 1:
        return [mean]
    return [mean // 4 + 3 * mean * i // (2 * (count - 1)) for i in range(count)]


def _outside(sent: Sequence[Record], steps: Sequence[Sample]) -> Iterator[float]:
    """For requests that came one by one: seconds to the first token beyond those of its steps."""
    each = len(steps) // len(sent)
    for number, record in enumerate(sent):
        own = steps[number * each : (number + 1) * each]
        prompt = own[: each - len(record.tokens) + 1]
        yield record.tokens[0] - sum(step.seconds for step in prompt)
