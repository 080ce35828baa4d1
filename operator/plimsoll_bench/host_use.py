"""How busy a machine was, besides the server and the client that measured it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ticks:
    """Of all cores, since the machine started. `server` are those of the server's processes."""

    busy: int
    steal: int
    total: int
    server: int | None
    own: float


@dataclass(frozen=True)
class HostUse:
    """Shares of all cores' time: `steal` is what the hypervisor took, `foreign` what neither the
    server nor the client used, None where the server's processes are not known."""

    busy: float
    steal: float
    foreign: float | None

    @property
    def noise(self) -> float:
        """What others took."""
        return self.steal + (self.foreign or 0.0)


def use_between(before: Ticks | None, after: Ticks | None) -> HostUse | None:
    """None where there is nothing to tell."""
    if before is None or after is None or after.total <= before.total:
        return None
    total = after.total - before.total
    foreign = None
    if before.server is not None and after.server is not None:
        used = after.server - before.server + after.own - before.own
        foreign = max(0.0, (after.busy - before.busy - used) / total)
    return HostUse(
        (after.busy - before.busy) / total, (after.steal - before.steal) / total, foreign
    )
