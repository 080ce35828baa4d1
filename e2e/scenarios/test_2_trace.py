"""A slice of a real trace, replayed at a bounded rate: nothing fails, lengths are as asked."""

import json
from pathlib import Path

from e2e.support.kubectl import Kubectl
from e2e.support.traffic import Arrival, replay, service_url

TRACE = Path(__file__).parents[1] / "data" / "azure_conv_2023_head.jsonl"
# The trace's own rate of one request a second is that of many GPUs: two thirds of it fill one
# small engine on a CPU without drowning it.
STRETCH = 1.5


def test_trace_is_answered_in_full(kubectl: Kubectl, proxy: str, serving: str) -> None:
    rows = [json.loads(line) for line in TRACE.read_text().splitlines()]
    arrivals = [
        Arrival(row["t"] * STRETCH, row["prompt_tokens"], row["output_tokens"]) for row in rows
    ]
    answers = replay(service_url(proxy, kubectl.namespace, serving), serving, arrivals)
    assert [answer.error for answer in answers if answer.error] == []
    assert [answer.prompt_tokens for answer in answers] == [a.prompt_tokens for a in arrivals]
    assert [answer.output_tokens for answer in answers] == [a.output_tokens for a in arrivals]
    seconds = sorted(answer.seconds for answer in answers)
    print(f"{len(answers)} requests, end to end p50 {seconds[len(seconds) // 2]:.2f} s,", end=" ")
    print(f"max {seconds[-1]:.2f} s")
