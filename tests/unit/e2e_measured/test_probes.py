"""What probes take for HTTP must be that on a slow machine, too."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from e2e.measured.client import Record, Sending
from e2e.measured.engine import Engine
from e2e.measured.probes import ALONE, REPEATS, probe
from e2e.measured.work import Work
from plimsoll_planner.calibration.fit import Sample

OUTSIDE_SECONDS = 0.003
TOKEN_SECONDS = 0.02
CHUNK = 512


class Played:
    """An engine that takes requests one after the other, and tells its steps."""

    def __init__(self, prompt_token_seconds: float) -> None:
        self.prompt_token_seconds = prompt_token_seconds
        self.work: list[Work] = []
        self._steps: list[Sample] = []

    def limits(self) -> dict[str, int]:
        return {"max_model_len": 2048}

    def send(self, sendings: Sequence[Sending]) -> list[Record]:
        free, records = 0.0, []
        for sending in sendings:
            prompt, tokens = len(sending.body["prompt"]), sending.body["max_tokens"]
            now = max(free, sending.at)
            for begin in range(0, prompt, CHUNK):
                now += self._step(min(CHUNK, prompt - begin), prompt)
            times = [now]
            for _ in range(tokens - 1):
                times.append(times[-1] + self._step(1, prompt))
            free = times[-1]
            waits = tuple(OUTSIDE_SECONDS + time - sending.at for time in times)
            records.append(Record(0.0, waits, "", tokens))
        return records

    def steps(self) -> list[Sample]:
        told, self._steps = self._steps, []
        return told

    def _step(self, tokens: int, context: int) -> float:
        seconds = TOKEN_SECONDS if tokens == 1 else self.prompt_token_seconds * tokens
        self._steps.append(Sample(tokens, 1, context, seconds))
        return seconds


@pytest.mark.parametrize("prompt_token_seconds", [1e-5, 0.0025, 0.02])
def test_requests_that_come_alone_are_alone_on_any_machine(prompt_token_seconds: float) -> None:
    played: Any = Played(prompt_token_seconds)
    probed = probe(cast("Engine", played), vocab_size=4000)
    assert probed.request_seconds == pytest.approx([OUTSIDE_SECONDS] * len(ALONE) * REPEATS)
