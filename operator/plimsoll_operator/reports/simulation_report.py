"""A simulation as people read it in a terminal, and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from plimsoll_operator.planning.status import summary as plan_name
from plimsoll_planner.inputs import Objectives
from plimsoll_planner.result import Plan
from plimsoll_planner.simulation.experiment import WARM_UP, Experiment
from plimsoll_planner.simulation.load_curve import LoadCurve, keeps
from plimsoll_planner.simulation.random_traffic import POISSON
from plimsoll_planner.simulation.summary import Percentiles, Summary
from plimsoll_planner.text import duration, figure

_KEPT, _BROKEN = "✓", "✗"
_SHARES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True)
class Simulated:
    """What a report is made of. `name` is the deployment's; `found` is at `rate` requests/s."""

    name: str
    plan: Plan
    experiment: Experiment
    rate: float
    found: Summary
    curve: LoadCurve | None = None


def table(simulated: Simulated) -> str:
    """The lines, without a trailing newline."""
    found, objectives = simulated.found, simulated.experiment.objectives
    lines = [
        f"{simulated.name}   {_count(simulated.experiment.replicas, 'replica')} of "
        f"{plan_name(simulated.plan)}",
        "",
        _row("traffic", _traffic(simulated)),
        _row("measured", f"{_count(found.requests, 'request')} after {WARM_UP:.0%} more"),
        "",
        "  "
        + f"{'':<22}{'mean':>9}{'p50':>9}{'p90':>9}{'p95':>9}{'':<9}{'p99':>9}{'promised':>10}",
        *_latencies(found, objectives),
        "",
        _row("goodput", _goodput(found)),
        _row("replica", _use(found)),
        _row("KV cache", _kv_cache(found)),
    ]
    if simulated.curve is not None:
        lines += ["", *_curve(simulated.curve, objectives)]
    return "\n".join(line.rstrip() for line in lines)


def document(simulated: Simulated) -> dict[str, Any]:
    """The same figures, in seconds and requests per second."""
    curve = simulated.curve
    return {
        "name": simulated.name,
        "replicas": simulated.experiment.replicas,
        "requestsPerSecond": simulated.rate,
        "objectivesHold": keeps(simulated.found, simulated.experiment.objectives),
        **_document(simulated.found),
        **(
            {}
            if curve is None
            else {
                "capacity": curve.capacity,
                "sustained": curve.sustained,
                "knee": curve.knee,
                "curve": [
                    {"requestsPerSecond": point.rate, **_document(point.summary)}
                    for point in curve.points
                ],
            }
        ),
    }


def _document(found: Summary) -> dict[str, Any]:
    return {_camel(key): _plain(value) for key, value in asdict(found).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return dict(zip(_SHARES, value, strict=True))
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _latencies(found: Summary, objectives: Objectives) -> list[str]:
    lines = []
    for name, figures, promised in (
        ("time to first token", found.ttft, objectives.ttft_p95),
        ("time per output token", found.tpot, objectives.tpot_p95),
        ("end to end", found.e2e, None),
        ("wait for a place", found.queue, None),
    ):
        if figures is not None:
            lines.append(_latency(name, figures, promised))
    if found.itl is not None:
        p50, p90, p95, p99 = map(duration, found.itl)
        lines.append(f"  {'gap between tokens':<22}{'':>9}{p50:>9}{p90:>9}{p95:>9}{'':<9}{p99:>9}")
    return lines


def _latency(name: str, figures: Percentiles, promised: float | None) -> str:
    error = "" if figures.p95_error is None else f" ±{duration(figures.p95_error)}"
    mark = ""
    if promised is not None:
        mark = f"{duration(promised):>10} {_KEPT if figures.p95 <= promised else _BROKEN}"
    mean, p50, p90, p95, p99 = map(
        duration, (figures.mean, figures.p50, figures.p90, figures.p95, figures.p99)
    )
    return f"  {name:<22}{mean:>9}{p50:>9}{p90:>9}{p95:>9}{error:<9}{p99:>9}{mark}"


def _traffic(simulated: Simulated) -> str:
    experiment = simulated.experiment
    rate = f"{figure(simulated.rate)} requests/s"
    if experiment.trace:
        stretch = experiment.declared_rate / simulated.rate
        how = "" if abs(stretch - 1) < 1e-9 else f", its time stretched by {figure(stretch)}"
        return f"{rate} of a trace of {len(experiment.trace)} requests{how}"
    gaps, workload = experiment.random.gap_variation, experiment.random.workload
    process = "Poisson" if gaps == POISSON else f"gamma with a variation of {figure(gaps)}"
    prompt, output = workload.prompt_tokens, workload.output_tokens
    return (
        f"{rate}, {process}; prompts of {prompt.mean} tokens (p95 {prompt.p95}), "
        f"answers of {output.mean} ({output.p95})"
    )


def _goodput(found: Summary) -> str:
    share = found.goodput / found.offered if found.offered else 0.0
    return (
        f"{figure(found.goodput)} of {figure(found.offered)} requests/s met every objective "
        f"({share:.1%}); {figure(found.output_tokens)} tokens/s"
    )


def _use(found: Summary) -> str:
    return (
        f"computes {found.utilisation:.0%} of the time, then on average "
        f"{found.running:.1f} running and {found.waiting:.1f} waiting"
    )


def _kv_cache(found: Summary) -> str:
    return (
        f"{found.kv_cache_mean:.1%} used on average, {found.kv_cache_peak:.1%} at most; "
        f"{_count(found.preemptions, 'preemption')}; "
        f"{found.prefix_hits:.1%} of prompt tokens found in it"
    )


def _curve(curve: LoadCurve, objectives: Objectives) -> list[str]:
    lines = [
        f"  {'requests/s':>12}{'TTFT p50':>11}{'TTFT p95':>11}{'TPOT p50':>11}{'TPOT p95':>11}"
        f"{'goodput':>10}{'waiting':>9}"
    ]
    for point in curve.points:
        found = point.summary
        if found.ttft is None:
            continue
        tpot = ("-", "-") if found.tpot is None else (found.tpot.p50, found.tpot.p95)
        cells = [duration(each) if isinstance(each, float) else each for each in tpot]
        lines.append(
            f"  {figure(point.rate):>12}{duration(found.ttft.p50):>11}"
            f"{duration(found.ttft.p95):>11}{cells[0]:>11}{cells[1]:>11}"
            f"{found.goodput / found.offered if found.offered else 0:>10.1%}"
            f"{found.waiting:>9.1f} {_KEPT if keeps(found, objectives) else _BROKEN}"
        )
    knee = "not in this range" if curve.knee is None else f"{figure(curve.knee)} requests/s"
    lines += [
        "",
        _row("knee", f"{knee}: from there on latency grows by a larger factor than load"),
        _row("sustained", f"{figure(curve.sustained)} requests/s within every objective"),
        _row("capacity", f"{figure(curve.capacity)} requests/s, whatever the latency"),
    ]
    return lines


def _row(label: str, text: str) -> str:
    return f"  {label:<12}{text}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
