"""Prefix hits on a recorded trace, against an ideal cache with as many blocks.

Ideal means: what a request has computed or found is kept until its room is needed, and only once
however many requests hold it; a request finds the longest run of kept blocks that its prompt begins
with, but not all of the prompt; what no running request holds goes in the order in which it was
last held, an end before its beginning. It is not the optimum: that would know the future.

The ideal cache below is told prompts by the trace's own ids. It knows nothing of tokens, hashes,
block numbers or reference counts in a pool.

Prompts are served at 1/32 of their lengths: the 512 tokens that an id stands for become a block of
16, so the ids are the blocks. Answers are served at 1/8, which makes blocks scarcer.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult

DATA = Path(__file__).parents[3] / "data" / "mooncake_conversation_head.jsonl.gz"
SIZE = 16
PROMPT_SCALE, OUTPUT_SCALE = 512 // SIZE, 8
MAX_MODEL_LEN = 4096
TINY, SMALL, MIDDLE, AMPLE = 256, 512, 8192, 32_768
"""Blocks. The longest prompt has 237; all of them together have 13,712 different ones."""
STEP_SECONDS, TOKEN_SECONDS = 0.02, 1 / 1024
"""Of a made-up engine that needs longer than the trace lasts."""


class Row(NamedTuple):
    """A request of the trace. `contents` names what its full blocks will hold, in order: the
    trace's ids, then those with its output, which nobody else can have."""

    arrival: float
    ids: list[int]
    prompt_tokens: int
    output_tokens: int
    contents: list[object]

    @property
    def prompt(self) -> list[int]:
        """Made-up tokens: a block is its id and the same tokens after it."""
        tokens = [token for each in self.ids for token in (each, *range(1, SIZE))]
        return tokens[: self.prompt_tokens]


def rows() -> Iterator[Row]:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            prompt = -(-row["prompt_tokens"] // PROMPT_SCALE)
            output = -(-row["output_tokens"] // OUTPUT_SCALE)
            shared = row["prefix_ids"][: prompt // SIZE]
            own = [(number, n) for n in range(len(shared), (prompt + output - 1) // SIZE)]
            yield Row(row["t"], row["prefix_ids"], prompt, output, [*shared, *own])


TRACE = list(rows())


@dataclass
class Stay:
    """A running request in the ideal cache: the blocks that it has, and how many are known."""

    row: Row
    blocks: int
    known: int


class IdealCache:
    """`held` and `idle` contents are kept, once each; `idle` is in the order of the last use.
    `unknown` blocks of running requests are not full, or not computed yet."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.held: Counter[object] = Counter()
        self.idle: dict[object, None] = {}
        self.unknown = 0

    @property
    def is_full(self) -> bool:
        return not self.idle and len(self.held) + self.unknown == self.num_blocks

    def begin(self, row: Row, tokens: int) -> Stay:
        """A request of so many tokens comes in; `known` of the answer is what it finds."""
        stay = Stay(row, 0, 0)
        for content in row.contents[: (tokens - 1) // SIZE]:
            if content not in self.held and content not in self.idle:
                break
            self._hold(content)
            stay.blocks += 1
            stay.known += 1
        self.grow(stay, tokens)
        return stay

    def grow(self, stay: Stay, tokens: int) -> None:
        """Makes room for so many tokens of a request."""
        while stay.blocks * SIZE < tokens:
            if len(self.held) + len(self.idle) + self.unknown == self.num_blocks:
                del self.idle[next(iter(self.idle))]
            stay.blocks += 1
            self.unknown += 1

    def compute(self, stay: Stay, tokens: int) -> None:
        """So many tokens of a request have been computed."""
        for content in stay.row.contents[stay.known : tokens // SIZE]:
            self._hold(content)
            stay.known += 1
            self.unknown -= 1

    def end(self, stay: Stay) -> None:
        """A request gives its blocks back, its end first."""
        self.unknown -= stay.blocks - stay.known
        for content in reversed(stay.row.contents[: stay.known]):
            self.held[content] -= 1
            if not self.held[content]:
                del self.held[content]
                self.idle[content] = None

    def serve(self, row: Row) -> int:
        """A request from beginning to end, with nobody beside it; how many tokens it found."""
        stay = self.begin(row, row.prompt_tokens)
        found = stay.known * SIZE
        last = row.prompt_tokens + row.output_tokens - 1  # nobody needs the last one's keys
        self.compute(stay, row.prompt_tokens)
        self.grow(stay, last)
        self.compute(stay, last)
        self.end(stay)
        return found

    def _hold(self, content: object) -> None:
        self.idle.pop(content, None)
        self.held[content] += 1


class Replay:
    """The trace through the scheduler. `found` are tokens by the number of the request."""

    def __init__(self, num_blocks: int, max_num_seqs: int) -> None:
        limits = EngineLimits(max_num_seqs, 512, MAX_MODEL_LEN, num_blocks, SIZE)
        self.scheduler = Scheduler(limits)
        self.requests: list[Request] = []
        self.now = 0.0

    @property
    def found(self) -> list[int]:
        return [request.num_cached_tokens for request in self.requests]

    @property
    def is_over(self) -> bool:
        return len(self.requests) == len(TRACE) and not self.scheduler.has_unfinished()

    def step(self) -> tuple[SchedulerOutput, set[str]]:
        """One step; what it did and which requests it ended."""
        self._arrive()
        output = self.scheduler.schedule(self.now)
        sampled = {item.request_id: 7 for item in output.scheduled if item.samples}
        made = self.scheduler.update(output, StepResult(sampled))
        self.now += STEP_SECONDS + TOKEN_SECONDS * output.num_tokens
        return output, {each.request_id for each in made if each.finish_reason}

    def _arrive(self) -> None:
        number = len(self.requests)
        if number < len(TRACE) and not self.scheduler.has_unfinished():
            self.now = max(self.now, TRACE[number].arrival)
        for row in TRACE[number:]:
            if row.arrival > self.now:
                break
            sampling = SamplingParams(row.output_tokens)
            name = str(len(self.requests))
            self.requests.append(Request(name, row.prompt, sampling, row.arrival))
            self.scheduler.add(self.requests[-1])


def hit_rate(found: list[int]) -> float:
    return sum(found) / sum(row.prompt_tokens for row in TRACE)


def by_arrival(num_blocks: int) -> list[int]:
    """Tokens that the ideal cache finds when requests are served one by one."""
    cache = IdealCache(num_blocks)
    return [cache.serve(row) for row in TRACE]


def test_how_much_there_is_to_find() -> None:
    """Where nothing is evicted, a block that was there once is found: no cache is needed for it."""
    seen: set[object] = set()
    found = []
    for row in TRACE:
        findable = row.contents[: (row.prompt_tokens - 1) // SIZE]
        found.append(SIZE * len(list(takewhile(seen.__contains__, findable))))
        seen.update(row.contents)
    assert by_arrival(AMPLE) == found
    rates = [round(hit_rate(by_arrival(blocks)), 3) for blocks in (SMALL, MIDDLE, AMPLE)]
    assert rates == [0.037, 0.158, 0.171]


@pytest.mark.parametrize("num_blocks", [SMALL, MIDDLE, AMPLE])
def test_one_by_one_every_request_finds_what_it_would_in_an_ideal_cache(num_blocks: int) -> None:
    replay = Replay(num_blocks, max_num_seqs=1)
    while not replay.is_over:
        replay.step()
    assert replay.found == by_arrival(num_blocks)
    assert replay.scheduler.prefixes.num_hits == sum(replay.found)


def side_by_side(replay: Replay, cache: IdealCache) -> Iterator[tuple[str, int, int]]:
    """Serves the trace, and tells the ideal cache who is admitted, has computed or has ended, and
    when. Gives, for every admission, the tokens that the scheduler and the cache found."""
    stays: dict[str, Stay] = {}
    while not replay.is_over:
        output, ended = replay.step()
        preempted = output.preempted.copy()
        for item in output.scheduled:
            name, tokens = item.request_id, item.start + len(item.token_ids)
            stay = stays.get(name)
            if stay is None:
                row = TRACE[int(name)]
                stay = stays[name] = cache.begin(row, row.prompt_tokens + item.output_index)
                yield name, item.start, stay.known * SIZE
            elif stay.blocks * SIZE < tokens:
                while cache.is_full:
                    cache.end(stays.pop(preempted.pop(0)))
                cache.grow(stay, tokens)
        for name in preempted:
            cache.end(stays.pop(name))
        for item in output.scheduled:
            cache.compute(stays[item.request_id], item.start + len(item.token_ids))
            if item.request_id in ended:
                cache.end(stays.pop(item.request_id))


@pytest.mark.parametrize("num_blocks", [TINY, SMALL, MIDDLE, AMPLE])
def test_side_by_side_as_well_in_the_same_order_of_admission(num_blocks: int) -> None:
    """Then many requests hold the same blocks, some compute the same at the same time and so find
    less than one by one, and in the smallest pool some are preempted and come back."""
    replay, cache = Replay(num_blocks, max_num_seqs=32), IdealCache(num_blocks)
    admissions = list(side_by_side(replay, cache))
    assert [(name, found) for name, found, _ in admissions] == [
        (name, ideal) for name, _, ideal in admissions
    ]
    assert len(admissions) == len(TRACE) + replay.scheduler.num_preemptions
    assert (replay.scheduler.num_preemptions > 0) == (num_blocks == TINY)
