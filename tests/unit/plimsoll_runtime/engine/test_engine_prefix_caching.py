"""With a real model in fp32: what is found in the cache changes no token."""

import queue
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NamedTuple

import pytest

from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.engine.stats import EngineStats

TIMEOUT = 30.0
MakeRunner = Callable[..., ModelRunner]
Greedy = Callable[[list[int], int], list[int]]

SYSTEM = [(11 * i + 5) % 97 for i in range(22)]
OTHER = [(5 * i + 2) % 97 for i in range(17)]


class Question(NamedTuple):
    """The salt is not part of what the model sees."""

    prompt: list[int]
    sampling: SamplingParams
    salt: str = ""


class Server:
    """An engine that answers a round of questions at once."""

    def __init__(self, make_runner: MakeRunner, limits: EngineLimits) -> None:
        runner = make_runner(limits)
        self.engine = Engine(Scheduler(limits), runner, runner.model.config)
        self.engine.start()
        self.names = count()

    def ask(self, questions: list[Question]) -> list[tuple[list[int], int]]:
        """Each answer's tokens, and how many of the prompt's were cached."""
        boxes: list[queue.Queue[RequestOutput]] = []
        for number, question in enumerate(questions):
            box: queue.Queue[RequestOutput] = queue.Queue()
            boxes.append(box)
            self.engine.submit(
                Request(
                    str(next(self.names)),
                    question.prompt,
                    question.sampling,
                    float(number),
                    cache_salt=question.salt,
                ),
                box.put,
            )
        return [self._answer(box) for box in boxes]

    def _answer(self, box: "queue.Queue[RequestOutput]") -> tuple[list[int], int]:
        tokens: list[int] = []
        while True:
            output = box.get(timeout=TIMEOUT)
            assert output.error is None
            tokens += output.new_token_ids
            if output.finish_reason is not None:
                return tokens, output.cached_tokens


def conversations(server: Server, rounds: int) -> list[list[int]]:
    """Eight conversations, half of them random, with two system prompts; all answers."""
    talks = [[*(SYSTEM if i % 4 else OTHER), i] for i in range(8)]
    answers = []
    for turn in range(rounds):
        questions = [
            Question(
                talk,
                SamplingParams(7, temperature=0.0 if i % 2 else 1.0, top_p=0.9, seed=10 * turn + i),
                salt="tenant" if i > 5 else "",
            )
            for i, talk in enumerate(talks)
        ]
        for talk, (tokens, _) in zip(talks, server.ask(questions), strict=True):
            answers.append(tokens)
            talk += [*tokens, turn]
    return answers


@pytest.mark.parametrize(
    ("seqs", "tokens", "blocks", "kv_cache_dtype"),
    [
        (8, 64, 256, "auto"),
        (8, 9, 256, "auto"),
        (6, 16, 22, "auto"),
        (3, 5, 18, "auto"),
        (1, 7, 18, "auto"),
        (8, 9, 256, "int8"),
        (6, 16, 22, "int8"),
    ],
)
def test_every_token_is_the_same_with_the_cache_as_without(
    make_runner: MakeRunner, seqs: int, tokens: int, blocks: int, kv_cache_dtype: str
) -> None:
    make = partial(make_runner, kv_cache_dtype=KVCacheDtype(kv_cache_dtype))

    def talk(caching: bool) -> tuple[list[list[int]], EngineStats]:
        server = Server(make, EngineLimits(seqs, tokens, 72, blocks, 4, caching))
        answers = conversations(server, rounds=4)
        stats = server.engine.stats()
        server.engine.stop()
        return answers, stats

    cached, with_cache = talk(True)
    plain, without = talk(False)
    assert cached == plain
    assert without.prefix_cache_hits == without.prefix_cache_queries == 0
    assert 0 < with_cache.prefix_cache_hits < with_cache.prefix_cache_queries
    assert with_cache.kv_cache_usage == without.kv_cache_usage == 0.0
    if blocks == 256:
        # Every turn but the first finds all full blocks of the turns before.
        assert with_cache.prefix_cache_hits > 0.6 * with_cache.prefix_cache_queries
    if (seqs, blocks) == (6, 22):
        assert with_cache.num_preemptions > 0


def test_greedy_answers_from_the_cache_equal_transformers(
    make_runner: MakeRunner, greedy: Greedy
) -> None:
    server = Server(make_runner, EngineLimits(8, 16, 72, 40, 4))
    prompts = [SYSTEM[:length] for length in (22, 21, 20, 17, 16, 5, 22)]
    questions = [Question(prompt, SamplingParams(9, temperature=0.0)) for prompt in prompts]
    for _ in range(3):
        answers = server.ask(questions)
        assert [tokens for tokens, _ in answers] == [greedy(prompt, 9) for prompt in prompts]
    assert [cached for _, cached in answers] == [20, 20, 16, 16, 12, 4, 20]
    assert server.ask([Question(SYSTEM, SamplingParams(1), "tenant")])[0][1] == 0
    server.engine.stop()
