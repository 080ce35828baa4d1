from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from plimsoll_runtime.core.buckets import GAPS
from plimsoll_runtime.server.token_metrics import TokenMetrics

NAMES, LABELS = ("model_name", "engine"), ("tiny", "0")


def samples(registry: CollectorRegistry) -> set[str]:
    """All that is exposed but when it was created, which is not asked for in the server."""
    lines: Iterable[str] = generate_latest(registry).decode().splitlines()
    return {line for line in lines if "_created" not in line}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 5), st.none() | st.sampled_from(GAPS) | st.floats(0.0, 100.0, width=16)
        )
    )
)
def test_they_are_exposed_as_prometheus_clients_own(seen: list[tuple[int, float | None]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = TokenMetrics(NAMES, LABELS)
    ours.register(metrics)
    tokens = Counter("vllm:generation_tokens", "Tokens generated.", NAMES, registry=theirs)
    gaps = Histogram(
        "vllm:inter_token_latency_seconds",
        "Between two tokens of a request.",
        NAMES,
        buckets=GAPS,
        registry=theirs,
    )
    counter, histogram = tokens.labels(*LABELS), gaps.labels(*LABELS)
    for count, seconds in seen:
        counter.inc(count)
        if seconds is None:
            metrics.first(count)
        else:
            metrics.later(count, seconds)
            histogram.observe(seconds / count)
    assert samples(ours) == samples(theirs)
