"""Two recorded traces with their lengths divided, so that a small model serves them in minutes.

What is divided are tokens: of prompts, answers and the blocks that prefixes are told in. The gaps
between arrivals are stretched to the rate that is asked for, and keep their bursts.
"""

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.measured.client import Sending
from e2e.measured.probes import body, tokens_of
from plimsoll_operator.traces.trace_file import read_trace
from plimsoll_planner.simulation.arrival import Arrival

DATA = Path(__file__).parents[2] / "tests" / "data"


@dataclass(frozen=True)
class Recorded:
    """A trace of `tests/data`, whose README says where it is from, and what its lengths are
    divided by for a model of some hundred million parameters."""

    name: str
    file: str
    divisor: int

    def arrivals(
        self, count: int, max_model_len: int, skip: int = 0, longer: int = 1
    ) -> list[Arrival]:
        """So many requests after the first `skip`, `longer` times as long as for such a model, cut
        to the model's context."""
        found = read_trace(str(DATA / self.file), sys.stdin).requests[skip : skip + count]
        divisor = self.divisor // longer
        return [_divided(each, divisor).within(max_model_len) for each in found]


TRACES = (
    Recorded("Azure conversation", "azure_conversation_head.jsonl.gz", 16),
    Recorded("Mooncake conversation", "mooncake_conversation_head.jsonl.gz", 64),
)


def _divided(arrival: Arrival, divisor: int) -> Arrival:
    return arrival._replace(
        prompt_tokens=max(1, round(arrival.prompt_tokens / divisor)),
        output_tokens=max(1, round(arrival.output_tokens / divisor)),
        prefix_block=arrival.prefix_block // divisor,
    )


def sendings(arrivals: Sequence[Arrival], vocab_size: int, seed: str) -> list[Sending]:
    """The same requests for a client: equal prefix ids are equal random tokens, all else differs.

    With another `seed` no prompt begins as any of these.
    """
    found = []
    for number, arrival in enumerate(arrivals):
        prompt: list[int] = []
        for prefix_id in arrival.prefix_ids:
            prompt += _tokens(f"{seed} prefix {prefix_id}", arrival.prefix_block, vocab_size)
        del prompt[arrival.prompt_tokens :]
        own = arrival.prompt_tokens - len(prompt)
        prompt += _tokens(f"{seed} request {number}", own, vocab_size)
        found.append(Sending(arrival.at, body(prompt, arrival.output_tokens)))
    return found


def _tokens(seed: str, count: int, vocab_size: int) -> list[int]:
    return random.Random(seed).choices(tokens_of(vocab_size), k=count)  # noqa: S311
