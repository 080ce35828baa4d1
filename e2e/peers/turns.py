"""Who is measured next, and whether there is time for it."""

from collections.abc import Iterator, Mapping, Sequence

from e2e.peers.measurement import Turn


def turns(rounds: int, models: Sequence[str], engines: Sequence[str]) -> Iterator[Turn]:
    """In order. Each round begins with another engine, so that none always follows the same."""
    for number in range(1, rounds + 1):
        shift = (number - 1) % max(1, len(engines))
        for model in models:
            for engine in (*engines[shift:], *engines[:shift]):
                yield Turn(number, model, engine)


def next_turn(
    left: Sequence[Turn], took: Mapping[tuple[str, str], float], seconds: float
) -> Turn | None:
    """The first of those `left` that fits into the seconds, all of the same round: a round is not
    begun while one before it lacks anything. `took` are seconds by (model, engine); one that was
    never measured is tried."""
    if seconds <= 0:
        return None
    for turn in left:
        if turn.round != left[0].round:
            break
        if took.get((turn.model, turn.engine), 0.0) <= seconds:
            return turn
    return None
