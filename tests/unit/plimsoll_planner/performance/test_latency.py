import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import Lengths, Objectives, Workload
from plimsoll_planner.model_facts import model_facts
from plimsoll_planner.models.model import Model
from plimsoll_planner.performance.latency import OVERLOADED, Engine, full_batch_tpot, latency
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.traffic import Traffic
from plimsoll_planner.search.shape import Shape
from plimsoll_planner.simulation.random_traffic import RandomTraffic
from plimsoll_planner.simulation.replica import ReplicaModel
from plimsoll_planner.simulation.simulator import Fleet, Window, simulate
from plimsoll_planner.simulation.summary import summary
from plimsoll_runtime.core.limits import EngineLimits
from tests.unit.plimsoll_planner import models
from tests.unit.plimsoll_planner.published import facts

CHAT = Workload(1, Lengths(500, 1500), Lengths(200, 500))
EVEN = Workload(1, Lengths(500, 500), Lengths(200, 200))
SHORT = Workload(1, Lengths(64, 128), Lengths(64, 128))
LONG_PROMPTS = Workload(1, Lengths(3000, 6000), Lengths(50, 100))


def engine(
    name: str = "L4",
    model: Model = models.LLAMA_31_8B,
    budget: int = 2048,
    cores: float | None = None,
    slots: int = 512,
) -> Engine:
    accelerator = find(name)
    assert accelerator is not None
    precision = accelerator.precisions[0]
    shape = Shape(accelerator, name, precision, precision, 1, cores)
    return Engine(step_time(model_facts(model), shape), slots, budget)


@pytest.mark.parametrize(
    ("served_by", "workload", "rate"),
    [
        (engine("L4"), CHAT, 1.0),
        (engine("L4"), CHAT, 4.0),
        (engine("L4"), EVEN, 4.0),
        (engine("H200"), CHAT, 2.0),
        (engine("H200"), CHAT, 16.0),
        (engine("H200"), EVEN, 32.0),
        (engine("H200"), LONG_PROMPTS, 1.0),
        (engine("H200"), LONG_PROMPTS, 4.0),
        (engine("cpu", models.TINY, 512, 0.5), SHORT, 0.5),
        (engine("cpu", models.TINY, 512, 0.5), SHORT, 6.0),
    ],
)
def test_closed_formulas_agree_with_the_real_scheduler(
    served_by: Engine, workload: Workload, rate: float
) -> None:
    """p95 of TTFT and TPOT within a quarter of what the scheduler does with random traffic."""
    limits = EngineLimits(
        served_by.max_num_seqs,
        served_by.max_num_batched_tokens,
        max_model_len=16_000,
        num_blocks=50_000,
        enable_prefix_caching=False,
    )
    arrivals = RandomTraffic(workload).arrivals(rate, limits.max_model_len, seed=5)
    run = simulate(Fleet(ReplicaModel(served_by.step, limits)), arrivals, Window(100, 1000))
    simulated = summary(run, Objectives())
    found = latency(served_by, Traffic.of(workload, limits.max_model_len), rate)
    assert simulated.ttft is not None
    assert simulated.tpot is not None
    assert found.ttft_p95 == pytest.approx(simulated.ttft.p95, rel=0.25)
    assert found.tpot_p95 == pytest.approx(simulated.tpot.p95, rel=0.25)


def test_too_much_is_overload() -> None:
    assert latency(engine("L4"), Traffic.of(CHAT, 8192), 20.0) is OVERLOADED


def test_too_few_slots_are_overload() -> None:
    few = engine("L4", slots=8)
    assert latency(few, Traffic.of(CHAT, 8192), 4.0) is OVERLOADED
    assert latency(few, Traffic.of(CHAT, 8192), 0.2) is not OVERLOADED


def test_an_idle_replica_answers_in_the_time_of_the_prompt() -> None:
    one = engine("L4")
    found = latency(one, Traffic.of(EVEN, 8192), 1e-6)
    prompt = one.mixed(0, 500, 0, 0)
    assert prompt < found.ttft_p95 < prompt + one.step.per_request + one.step.decode(1, 600)
    assert found.tpot_p95 == pytest.approx(one.step.decode(1, 600), rel=0.02)


def test_one_sequence_alone_meets_no_prompts() -> None:
    one, traffic = engine("L4"), Traffic.of(CHAT, 8192)
    assert full_batch_tpot(one, traffic, 1) == one.step.decode(1, traffic.context)


def test_a_batch_as_large_as_the_budget_admits_nothing() -> None:
    assert full_batch_tpot(engine(budget=64), Traffic.of(CHAT, 8192), 64) == float("inf")


MOST_VARIATION = 4.0
"""Squared, of answers' lengths: that of a p95 of three and a half means. Where lengths vary more,
the formulas let a few requests that meet be slower with experts than many that always run."""
workloads = st.builds(
    lambda prompt, output, spread: Traffic.of(
        Workload(1, Lengths(prompt, int(prompt * spread)), Lengths(output, int(output * spread))),
        100_000,
    ),
    st.integers(1, 8000),
    st.integers(1, 2000),
    st.floats(1, 6),
)


@given(workloads, st.sampled_from(["L4", "A100", "H200"]), st.floats(1e-3, 50), st.floats(1, 3))
def test_more_load_is_never_faster(traffic: Traffic, name: str, rate: float, factor: float) -> None:
    one = engine(name)
    less, more = latency(one, traffic, rate), latency(one, traffic, rate * factor)
    assert more.running_p95 >= less.running_p95 * 0.999
    assert more.utilisation >= less.utilisation * 0.999
    assert more.tpot_p95 >= less.tpot_p95 * 0.97


@given(
    workloads.filter(lambda traffic: traffic.output_variation < MOST_VARIATION),
    st.sampled_from([1, 4]),
    st.floats(1e-3, 20),
    st.floats(1, 3),
)
def test_more_load_is_never_faster_with_experts(
    traffic: Traffic, size: int, rate: float, factor: float
) -> None:
    """A batch touches more of them as it grows, but ever fewer that are new."""
    h100 = find("H100")
    assert h100 is not None
    shape = Shape(h100, "H100", "BF16", "BF16", size)
    one = Engine(step_time(facts("microsoft/Phi-3.5-MoE-instruct"), shape), 512, 2048)
    less, more = latency(one, traffic, rate), latency(one, traffic, rate * factor)
    assert more.running_p95 >= less.running_p95 * 0.999
    assert more.tpot_p95 >= less.tpot_p95 * 0.9


def test_with_experts_too_sequences_are_as_many_as_their_steps_let_be() -> None:
    """Little's law, by halving the interval instead of by the latencies' own iteration."""
    gpu = find("RTX-4090")
    assert gpu is not None
    shape = Shape(gpu, "RTX-4090", "BF16", "BF16", 4)
    one = Engine(step_time(facts("microsoft/Phi-3.5-MoE-instruct"), shape), 24, 4096)
    traffic = Traffic.of(Workload(1, Lengths(1, 1), Lengths(200, 200)), 8192)
    for rate in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        low, high = 0.0, 24.0
        for _ in range(40):
            middle = (low + high) / 2
            steps = one.step.decode(middle, traffic.context)
            low, high = (middle, high) if rate * traffic.output * steps > middle else (low, middle)
        found = latency(one, traffic, rate)
        assert 1 < (found.running_p95 - low) / low**0.5 < 4, rate


@given(workloads, st.floats(1e-3, 50), st.integers(1, 512), st.sampled_from([64, 512, 4096]))
def test_figures_are_finite_and_positive_or_overload(
    traffic: Traffic, rate: float, slots: int, budget: int
) -> None:
    found = latency(engine("L4", budget=budget, slots=slots), traffic, rate)
    if found is not OVERLOADED:
        assert 0 < found.tpot_p95 < 1e6
        assert 0 < found.ttft_p95 < 1e6
        assert 0 <= found.running_p95 < 1e5
        assert 0 <= found.utilisation < 1


@given(workloads, st.integers(1, 255))
def test_larger_batches_are_never_faster(traffic: Traffic, size: int) -> None:
    one = engine("H200", budget=8192)
    assert full_batch_tpot(one, traffic, size + 1) >= full_batch_tpot(one, traffic, size) * 0.97
