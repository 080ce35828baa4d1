"""The page of a comparison with other engines, from what was measured."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from e2e.peers import asked, trace
from e2e.peers.asked import ASKED, FIGURE, Judged, judge, noise, of_model, values
from e2e.peers.engine import KV_BYTES, Precision
from e2e.peers.engines import ENGINES
from e2e.peers.limits import limit
from e2e.peers.measurement import Measurement
from e2e.peers.models import MODELS
from e2e.peers.ours import OURS
from e2e.peers.roofline import Roofline, median_of
from e2e.peers.sound import sound
from plimsoll_bench.comparison import ENOUGH_REPETITIONS, MEANINGFUL, NOISY, Figure
from plimsoll_bench.report import rate, seconds
from plimsoll_bench.workloads import DESCRIPTION
from plimsoll_planner.text import gibibytes

HEADLINES = {
    "W1": ("TTFT p50", "TPOT p50"),
    "W2": ("prefill tokens", "TTFT p50"),
    "W3": ("output tokens", "seconds in all", "TPOT p50"),
    "W4": ("seconds in all", "TTFT p50"),
    "W5": ("TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99"),
    trace.NAME: ("goodput", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99"),
}


def page(found: Sequence[Measurement], machine: dict[str, str]) -> str:
    """Markdown."""
    found = sorted(found, key=_place)
    ended = sorted(each.ended for each in found)
    commits = dict.fromkeys(each.commit or "unknown" for each in found)
    lines = [
        "# Beside other engines",
        "",
        "Written by `make bench-peers` ([what is sent and how](../bench.md)). In each round every",
        "engine has its turn with the same requests, so that all meet the same minutes of this",
        f"machine: {machine.get('cpu', 'an unknown CPU')}, {machine.get('cores', '?')} cores"
        f"{_with(machine.get('extensions', ''))}. "
        f"From {ended[0]} to {ended[-1]} (ends of the",
        f"first and the last turn), Plimsoll at {', '.join(commits)}. All figures are medians over",
        f"rounds. A difference below {MEANINGFUL:.0%} means nothing here. Runs in which others",
        f"took over {NOISY:.0%} of the cores are left out where any remain.",
    ]
    for model in dict.fromkeys(each.turn.model for each in found):
        lines += ["", *_model(model, of_model(found, model))]
    return "\n".join(lines) + "\n"


def _with(extensions: str) -> str:
    return f" with {extensions}" if extensions else ""


def _place(each: Measurement) -> tuple[int, int, int]:
    """Models and engines in the order in which they are known, then rounds."""
    models, engines = list(MODELS), list(ENGINES)
    name = each.turn.engine
    engine = engines.index(name) if name in engines else len(engines)
    return models.index(each.turn.model), engine, each.turn.round


def _model(model: str, found: Sequence[Measurement]) -> Iterator[str]:
    facts = MODELS[model].facts
    yield f"## {model}: {(facts.linear_parameters + facts.head_parameters) / 1e6:.0f}M parameters"
    kept, dropped = sound(found)
    yield ""
    yield from _judgements(model, kept)
    rooflines = [each.roofline for each in kept if each.roofline is not None]
    limits = median_of(rooflines) if rooflines else None
    if limits is not None:
        yield ""
        yield from _limits(model, limits, rooflines)
    yield ""
    yield from _engines(model, kept)
    for reason in dropped:
        yield f"- left out: {reason}"
    for workload in _workloads(kept):
        yield ""
        yield from _workload(model, workload, kept, limits)


def _judgements(model: str, found: Sequence[Measurement]) -> Iterator[str]:
    yield "| | weights | ours | best other | ours is better by | in single rounds | asked | |"
    yield "|---" * 8 + "|"
    for each in ASKED:
        judged = judge(each, model, found)
        if judged is not None:
            yield _judgement(judged)
        elif model in each.ratio:
            wanted = _wanted(each.ratio[model])
            yield (
                f"| {each.workload} {each.figure} | {each.precision} | – | – | – | – | {wanted} | "
                "not measured |"
            )
    yield from _start(model, found)


def _judgement(judged: Judged) -> str:
    write = _writer(FIGURE[judged.asked.figure])
    return (
        f"| {judged.asked.workload} {judged.asked.figure} | {judged.asked.precision} | "
        f"{write(judged.ours)} {judged.name} | {write(judged.other)} {judged.best} | "
        f"**{judged.ratio:.2f}×** | {judged.low:.2f}–{judged.high:.2f}, {judged.rounds} | "
        f"{_wanted(judged.wanted)} | {_verdict(judged)} |"
    )


def _verdict(judged: Judged) -> str:
    told = "reached" if judged.holds else "**missed**"
    few = judged.rounds < ENOUGH_REPETITIONS
    return f"{told}, by {judged.rounds} rounds only" if few else told


def _wanted(ratio: float) -> str:
    return "level" if ratio == asked.LEVEL else f"{ratio:g}×"


def _start(model: str, found: Sequence[Measurement]) -> Iterator[str]:
    """The first token after the start, and memory, of ours."""
    for engine in dict.fromkeys(each.turn.engine for each in found):
        mine = [each for each in found if each.turn.engine == engine]
        ready = [each.first_token_seconds for each in mine if each.first_token_seconds is not None]
        peak = max(each.peak_bytes for each in mine)
        if not engine.startswith(OURS) or not ready:
            continue
        took, allowed = statistics.median(ready), _allowed(model, mine[0].precision)
        told = "reached" if took <= asked.FIRST_TOKEN_SECONDS else "**missed**"
        yield (
            f"| first token after the start | {mine[0].precision} | {seconds(took)} {engine} "
            f"| | | | at most {seconds(asked.FIRST_TOKEN_SECONDS)} | {told} |"
        )
        told = "reached" if peak <= allowed else "**missed**"
        yield (
            f"| memory at most | {mine[0].precision} | {gibibytes(peak)} {engine} | | | | weights "
            f"+ KV budget + 500 MB: {gibibytes(round(allowed))} | {told} |"
        )


def _allowed(model: str, precision: Precision) -> float:
    facts = MODELS[model].facts
    size = 2 if precision is Precision.BF16 else 1
    weights = size * (facts.linear_parameters + facts.head_parameters)
    return weights + KV_BYTES + asked.SPARE_BYTES


def _limits(model: str, median: Roofline, found: Sequence[Roofline]) -> Iterator[str]:
    low, high = (pick(each.bandwidth for each in found) / 1e9 for pick in (min, max))
    facts = MODELS[model].facts
    yield (
        f"The machine read {median.bandwidth / 1e9:.0f} GB/s ({low:.0f} to {high:.0f}, measured in "
        f"each turn) and multiplied bf16 matrices at {median.flops / 1e9:.0f} GFLOP/s, 8-bit ones "
        f"at {median.int8_ops / 1e9:.0f} GOP/s. So no token alone can take less than "
        f"{seconds(median.tpot(facts, Precision.BF16))} "
        f"({seconds(median.tpot(facts, Precision.INT8))} with 8-bit weights), and no prompt of "
        f"1024 pass faster than {rate(median.prefill(facts, 1024, Precision.BF16))} "
        f"({rate(median.prefill(facts, 1024, Precision.INT8))}). *Limit* in a table: the "
        "products of all its tokens at these rates, which are torch's and may be passed, or the "
        "weights read for each step of its longest answer, whichever takes more; attention is left "
        "out."
    )


def _engines(model: str, found: Sequence[Measurement]) -> Iterator[str]:
    yield (
        "| engine | version | weights | first token after | at its first start | memory at most | "
        "answer | |"
    )
    yield "|---" * 8 + "|"
    for engine in dict.fromkeys(each.turn.engine for each in found):
        mine = [each for each in found if each.turn.engine == engine]
        ready, from_disk = (
            [took for took in told if took is not None]
            for told in (
                [each.first_token_seconds for each in mine],
                [each.first_start_seconds for each in mine],
            )
        )
        first = mine[0]
        note = next((each.note for each in mine if each.note), "")
        errors = [each.error.splitlines()[-1] for each in mine if each.error]
        if errors:
            note += f" failed in {len(errors)} rounds: `{errors[0]}`"
        yield (
            f"| {engine} | {first.version} | {first.precision} | "
            f"{seconds(statistics.median(ready) if ready else None)} | "
            f"{seconds(statistics.median(from_disk) if from_disk else None)} | "
            f"{gibibytes(max(each.peak_bytes for each in mine))} | {_answer(mine)} | {note} |"
        )
    yield ""
    yield (
        "*answer*: tokens of a greedy answer to W1 that are the likeliest by transformers in "
        "float32; then by how much the others miss it and, where an engine tells "
        "log-probabilities, how far they are off, in standard deviations of the logits at most."
    )


def _answer(found: Sequence[Measurement]) -> str:
    known = [each.agreement for each in found if each.agreement is not None]
    if not known:
        return "not checked"
    each = known[0]
    told = f"{each.likeliest} of {each.tokens}, {each.short:.2f}"
    told += f", {each.off:.2f}" if each.off else ""
    wrong = found[0].precision is Precision.BF16 and not each.holds
    return f"{told} **wrong**" if wrong else told


def _workloads(found: Sequence[Measurement]) -> list[str]:
    names = (run.workload for each in found if each.result for run in each.result.runs)
    return list(dict.fromkeys(names))


def _workload(
    model: str, workload: str, found: Sequence[Measurement], limits: Roofline | None
) -> Iterator[str]:
    kind = workload.partition(" ")[0]
    facts = MODELS[model].facts
    wanted = HEADLINES[kind.partition("r")[0] if kind != trace.NAME else kind]
    yield f"### {workload}: {_description(kind, model)}"
    yield ""
    yield "| engine | " + " | ".join(wanted) + " | rounds | others took |"
    yield "|---" * (len(wanted) + 3) + "|"
    for engine in dict.fromkeys(each.turn.engine for each in found):
        known = [values(found, model, engine, kind, FIGURE[name]) for name in wanted]
        if not any(known):
            continue
        precision = next(each.precision for each in found if each.turn.engine == engine)
        cells = [
            _cell(FIGURE[name], each, limit(facts, kind, name, precision, limits))
            for name, each in zip(wanted, known, strict=True)
        ]
        busy = [
            noise(run)
            for each in found
            if each.turn.engine == engine and each.result
            for run in each.result.runs
            if run.workload == workload
        ]
        yield f"| {engine} | {' | '.join(cells)} | {len(known[0])} | {max(busy):.0%} at most |"
    for precision in dict.fromkeys(each.precision for each in found if limits is not None):
        told = [
            _writer(FIGURE[name])(limit(facts, kind, name, precision, limits)) for name in wanted
        ]
        yield f"| *limit, {precision}* | {' | '.join(told)} | | |"


def _description(kind: str, model: str) -> str:
    if kind != trace.NAME:
        return DESCRIPTION[kind.partition("r")[0]]
    promised = trace.OBJECTIVES[model]
    return (
        "a recorded conversation trace, thinned; good is a TTFT of at most "
        f"{seconds(promised.ttft)} and a TPOT of at most {seconds(promised.tpot)}"
    )


def _cell(figure: Figure, known: dict[int, float], least: float | None) -> str:
    if not known:
        return "–"
    median = statistics.median(known.values())
    told = _writer(figure)(median)
    if least is None or not median:
        return told
    share = median / least if figure.more_is_better else least / median
    # One that was passed is none.
    return f"{told} ({share:.0%} of the limit)" if share <= 1 else told


def _writer(figure: Figure) -> Callable[[float | None], str]:
    return rate if figure.more_is_better else seconds
