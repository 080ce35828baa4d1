"""One run on a cluster that is up, with the operator installed."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from e2e.day.arrivals import Lengths, arrivals, most_in_a_window, parse_lengths
from e2e.day.deployment import MOST_REPLICAS, NAME, OBJECTIVES, deployment
from e2e.day.disturbance import Disturber, Interrupted
from e2e.day.observer import Observer
from e2e.day.result import Run, Setup
from e2e.day.schedule import Event, schedule
from e2e.day.sending import Sending
from e2e.day.shape import Shape, parse_shape
from e2e.peers.runner import commit
from e2e.support.kubectl import Kubectl, Object, eventually, is_true
from e2e.support.traffic import Arrival, kubectl_proxy
from plimsoll_bench.host import machine
from plimsoll_operator.api.quantity import parse_quantity

DATA = Path(__file__).parents[1] / "data"
RATE_SECONDS = 180.0
"""Over which the autoscaler counts arrivals: what static provisioning must hold, too."""
LAST_ANSWERS_SECONDS = 150.0


@dataclass(frozen=True)
class Day:
    """What is asked for: hours that the day takes, requests a second at most, seconds between
    events."""

    hours: float
    peak: float
    gap: float
    seed: int

    @property
    def seconds(self) -> float:
        return 3600 * self.hours


@dataclass(frozen=True)
class Traffic:
    """Of a day."""

    shape: Shape
    lengths: tuple[Lengths, ...]
    arrivals: tuple[Arrival, ...]


@dataclass(frozen=True)
class Place:
    """kubectl in the operator's namespace and in that of the run, and the engine's image."""

    system: Kubectl
    kubectl: Kubectl
    image: str


def traffic(day: Day) -> Traffic:
    """From the recorded day and the recorded lengths."""
    shape = parse_shape((DATA / "servegen_small_day.csv").read_text())
    lengths = parse_lengths((DATA / "azure_conv_2023_head.jsonl").read_text())
    return Traffic(shape, lengths, arrivals(shape, lengths, day.seconds, day.peak, day.seed))


def run(
    day: Day,
    place: Place,
    stop: threading.Event,
    say: Callable[[str], None],
) -> Run:
    """Serves the day, disturbs it, and tells what was seen; `stop` ends it early.

    Raises AssertionError when the deployment or the sender do not come up.
    """
    system, kubectl = place.system, place.kubectl
    of = traffic(day)
    resource = deployment(len(of.arrivals) / day.seconds, day.seconds, of.lengths)
    kubectl.apply(resource)
    ready = lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready")  # noqa: E731
    eventually("the deployment serves", ready, timeout=300)
    setup = _setup(day, of, kubectl.get("llmdeployment", NAME) or {})
    events = schedule(day.seconds, day.gap, day.seed)
    say(
        f"{len(of.arrivals)} requests, {len(events)} events; the plan has {setup.planned} replicas "
        f"of {setup.replica_rate:g} requests/s, and the fullest minutes take {setup.static}"
    )
    sending = Sending(kubectl, place.image, of.arrivals)
    start = sending.start(f"{NAME}.{kubectl.namespace}.svc.cluster.local", NAME)
    trouble: list[str] = []
    with kubectl_proxy(kubectl.kubeconfig) as proxy, _observed(proxy, kubectl, start) as observer:
        disturber = Disturber(kubectl, system, NAME, observer, resource["spec"], stop, say)
        try:
            _disturb(events, disturber, observer, stop)
            _wait(observer, stop, lambda: sending.sent.done, day.seconds + LAST_ANSWERS_SECONDS)
        except Interrupted:
            say("interrupted: what is known so far is written")
        finally:
            disturber.put_back()
        seconds = min(day.seconds, observer.now())
        sent = sending.stop()
        complete = sent.done and not stop.is_set()
        if not sent.done and not stop.is_set():
            trouble.append("the sender did not come to its end")
    due = sum(each.at < seconds for each in of.arrivals) if complete else len(sent.requests)
    return Run(
        setup,
        seconds,
        complete,
        due,
        [sent.requests[number] for number in sorted(sent.requests)],
        observer.samples,
        disturber.happened,
        disturber.kills,
        len(observer.seen),
        sum(observer.restarts.values()),
        trouble,
    )


@contextmanager
def _observed(proxy: str, kubectl: Kubectl, start: float) -> Iterator[Observer]:
    observer = Observer(proxy, kubectl.namespace, NAME, start)
    try:
        yield observer
    finally:
        observer.stop()


def _setup(day: Day, of: Traffic, resource: Object) -> Setup:
    plan = resource["status"]["plan"]
    rate = float(parse_quantity(plan["predicted"]["requestsPerSecondPerReplica"]))
    fullest = most_in_a_window(of.arrivals, min(RATE_SECONDS, day.seconds))
    return Setup(
        hours=day.hours,
        seed=day.seed,
        peak=day.peak,
        mean=len(of.arrivals) / day.seconds,
        objectives=OBJECTIVES,
        planned=plan["replicas"],
        static=math.ceil(fullest / rate),
        replica_rate=rate,
        most_replicas=MOST_REPLICAS,
        machine=machine(),
        commit=commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _disturb(
    events: Sequence[Event], disturber: Disturber, observer: Observer, stop: threading.Event
) -> None:
    """One after the other; what is late begins at once. Raises Interrupted."""
    for event in events:
        if stop.wait(max(0.0, event.at - observer.now())):
            raise Interrupted
        disturber.carry_out(event)


def _wait(
    observer: Observer, stop: threading.Event, done: Callable[[], bool], until: float
) -> None:
    while not done() and observer.now() < until:
        if stop.wait(2.0):
            raise Interrupted
