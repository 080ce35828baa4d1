"""The coarse replica against the engine's own scheduler, and its own bookkeeping."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_planner.performance.step_time import StepTime
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.coarse import CoarseReplica
from plimsoll_planner.simulation.elastic import SteppedReplica
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import Replica, ReplicaModel, Served
from plimsoll_planner.simulation.summary import percentile
from plimsoll_runtime.core.limits import EngineLimits
from tests.unit.plimsoll_planner.models import CHAT

STEP = StepTime(1e-3, 6e-3, 2e-5, 0.0, 2e-5, 8e-3, 1e-6, 1e-4, 4e-8, 1e-9)


def model(max_num_seqs: int = 32, num_blocks: int = 4096, budget: int = 1024) -> ReplicaModel:
    return ReplicaModel(
        STEP,
        EngineLimits(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=budget,
            max_model_len=4096,
            num_blocks=num_blocks,
            block_size=16,
        ),
    )


def serve(replica: CoarseReplica | SteppedReplica, arrivals: list[Arrival]) -> list[Served]:
    served: list[Served] = []
    for number, arrival in enumerate(arrivals):
        served += replica.advance(arrival.at)
        replica.receive(number, arrival)
    served += replica.advance(1e9)
    assert replica.num_requests == 0
    return sorted(served)


def traffic(rate: float, count: int) -> list[Arrival]:
    coming = RandomTraffic(CHAT).arrivals(rate, 4096, seed=1)
    return [next(coming) for _ in range(count)]


@pytest.mark.parametrize("rate", [2.0, 5.0, 8.0])
def test_agrees_with_the_scheduler(rate: float) -> None:
    arrivals = traffic(rate, 300)
    exact = serve(SteppedReplica(Replica(model())), arrivals)
    coarse = serve(CoarseReplica(model()), arrivals)
    for name in ("ttft", "tpot", "e2e"):
        for share in (0.5, 0.95):
            one, other = (
                percentile(sorted(getattr(each, name) or 0.0 for each in served), share)
                for served in (exact, coarse)
            )
            assert other == pytest.approx(one, rel=0.15), (name, share)


def test_one_request_alone_is_exact() -> None:
    arrivals = [Arrival(1.0, 700, 50)]
    (exact,) = serve(SteppedReplica(Replica(model())), arrivals)
    (coarse,) = serve(CoarseReplica(model()), arrivals)
    assert coarse.ttft == pytest.approx(exact.ttft)
    assert coarse.tpot == pytest.approx(exact.tpot, rel=1e-3)


@settings(max_examples=20)
@given(
    requests=st.lists(
        st.tuples(st.floats(0, 3), st.integers(1, 2500), st.integers(1, 1500)),
        min_size=1,
        max_size=15,
    ),
    num_blocks=st.integers(256, 300),
    seqs=st.integers(1, 8),
)
def test_all_are_served_whole_however_small_the_cache(
    requests: list[tuple[float, int, int]], num_blocks: int, seqs: int
) -> None:
    arrivals = [Arrival(*request) for request in sorted(requests)]
    replica = CoarseReplica(model(seqs, num_blocks, 64))
    served = serve(replica, arrivals)
    assert [each.number for each in served] == list(range(len(arrivals)))
    for each in served:
        assert each.queue >= 0
        assert each.ttft > 0
        assert each.e2e >= each.ttft
    assert replica.kv_cache_usage == 0
    assert len(replica.first_tokens) == len(arrivals)


def test_a_prefix_that_is_known_is_not_computed_again() -> None:
    arrivals = [Arrival(0.0, 1024, 2, (1, 2)), Arrival(5.0, 1024, 2, (1, 2))]
    first, second = serve(CoarseReplica(model()), arrivals)
    assert (first.cached_tokens, second.cached_tokens) == (0, 1023)
    assert second.ttft < first.ttft
