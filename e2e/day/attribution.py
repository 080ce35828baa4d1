"""Pure: which failed requests a killed pod explains."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from e2e.day.request import Request
from plimsoll_bench.record import Failure

SPREAD_SECONDS = 3.0
"""In which every node's rules follow the Service's endpoints."""
END_SECONDS = 5.0
"""In which the kubelet has ended the process of a pod that was deleted by force: its preStop takes
3, and 2 more are given to a process that does not end by itself."""
BROKEN = (Failure.CONNECTION, Failure.CUT_OFF, Failure.STREAM, f"{Failure.REFUSED} 5")
"""How failures begin that the end of a process can cause. A refusal (429), a wrong length and a
timeout are none of them."""


@dataclass(frozen=True)
class Kill:
    """A pod whose process ended at once: when, and when the Service no longer led to it. Seconds
    from the start."""

    pod: str
    at: float
    gone: float

    def explains(self, request: Request) -> bool:
        """Whether the request may have been on that pod: under way when it died, or sent there
        before all knew. It cannot have failed earlier, nor long after the pod was gone."""
        return (
            request.failure.startswith(BROKEN)
            and request.begun <= self.gone + SPREAD_SECONDS
            and self.at <= request.ended <= self.gone + END_SECONDS
        )


def attributed(requests: Iterable[Request], kills: Sequence[Kill]) -> dict[Request, Kill | None]:
    """Every failed request with the kill that explains it."""
    return {
        request: next((kill for kill in kills if kill.explains(request)), None)
        for request in requests
        if request.failure
    }
