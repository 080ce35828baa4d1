"""Pure: what goes wrong and what people edit in the course of a day, from a seed."""

import random
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happens."""

    POD_DELETED = "pod deleted"
    POD_FORCED = "pod deleted by force"
    ENGINE_KILLED = "engine SIGKILLed"
    OPERATOR_KILLED = "operator killed"
    OPERATOR_AWAY = "operator away"
    KILLED_IN_ROLLOUT = "operator killed in a rollout"
    MAX_REPLICAS = "maxReplicas edited"
    OBJECTIVE = "objective edited"
    LIMITS = "limits edited"
    ANNOTATION = "template edited"
    CONTEXT = "context length edited"
    PAUSE = "rollout paused and resumed"


BREAKS_REQUESTS = frozenset({Kind.POD_FORCED, Kind.ENGINE_KILLED})
"""What a pod has no time to finish; a pod that is deleted as usual must lose nothing."""
QUIET_SHARE = 0.04
"""Of the run, at either end, without events."""
JITTER = 0.3
"""Of the time between two events."""


@dataclass(frozen=True)
class Event:
    """Something that happens `at` seconds from the start; an edit is taken back after `hold`."""

    at: float
    kind: Kind
    hold: float


def schedule(seconds: float, gap: float, seed: int) -> tuple[Event, ...]:
    """Events about every `gap` seconds: every kind once before any comes again, in random order."""
    random_ = random.Random(seed)  # noqa: S311
    quiet = QUIET_SHARE * seconds
    count = int((seconds - 2 * quiet) / gap)
    deck: list[Kind] = []
    events = []
    for number in range(count):
        at = quiet + gap * (number + JITTER * random_.random())
        if not deck:
            deck = random_.sample(list(Kind), len(Kind))
        hold = gap * (0.1 + 0.2 * random_.random())
        events.append(Event(round(at, 1), deck.pop(), round(hold, 1)))
    return tuple(events)
