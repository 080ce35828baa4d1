"""Other loads: a recorded trace, and any load at other times."""

from collections.abc import Sequence
from dataclasses import replace

from plimsoll_bench.load import Arrivals, Load, Piece, Request
from plimsoll_bench.workloads import poisson_times
from plimsoll_planner.simulation.arrival import Arrival
from plimsoll_planner.simulation.trace import at_rate, mean_rate

_TRACE, _PREFIX, _REPETITION = 1 << 60, 1 << 59, 1 << 40
_TIMES_SEED = 7


def cut(trace: Sequence[Arrival], divisor: int, max_model_len: int | None) -> list[Arrival]:
    """The trace with its lengths divided, then cut to a context; each keeps at least a token."""
    shorter = (
        each._replace(
            prompt_tokens=max(1, round(each.prompt_tokens / divisor)),
            output_tokens=max(1, round(each.output_tokens / divisor)),
            prefix_block=max(1, each.prefix_block // divisor),
        )
        for each in trace
    )
    return [each if max_model_len is None else each.within(max_model_len) for each in shorter]


def trace_load(name: str, trace: Sequence[Arrival], repetition: int) -> Load:
    """A trace's requests at its own times. Equal prefix ids are equal tokens, all else differs."""
    base = _TRACE + repetition * _REPETITION
    return Load(
        name,
        tuple(
            Request(each.at, _prompt(each, base, number), each.output_tokens)
            for number, each in enumerate(trace)
        ),
        Arrivals.TRACE,
    )


def at_trace_rate(
    trace: Sequence[Arrival], rate: float | None, scale: float | None
) -> Sequence[Arrival]:
    """The trace with its time stretched to a rate, or to `scale` times its own; bursts stay.

    Raises ValueError where all requests come at one moment.
    """
    if rate is None and scale is None:
        return trace
    return at_rate(trace, rate if rate is not None else mean_rate(trace) * (scale or 1.0))


def at_poisson_rate(load: Load, rate: float, seed: int = _TIMES_SEED) -> Load:
    """The same requests, a Poisson process apart."""
    times = poisson_times(seed, rate, count=len(load.requests))
    requests = tuple(each._replace(at=at) for at, each in zip(times, load.requests, strict=True))
    return replace(load, requests=requests, arrivals=Arrivals.POISSON, rate=rate, concurrency=None)


def closed(load: Load, concurrency: int) -> Load:
    """The same requests, so many at once."""
    requests = tuple(each._replace(at=0.0) for each in load.requests)
    return replace(
        load, requests=requests, arrivals=Arrivals.CLOSED, rate=None, concurrency=concurrency
    )


def _prompt(arrival: Arrival, base: int, number: int) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    room = arrival.prompt_tokens
    for prefix_id in arrival.prefix_ids:
        tokens = min(room, arrival.prefix_block)
        if tokens:
            pieces.append(Piece(base + _PREFIX + prefix_id, tokens))
        room -= tokens
    if room:
        pieces.append(Piece(base + number, room))
    return tuple(pieces)
