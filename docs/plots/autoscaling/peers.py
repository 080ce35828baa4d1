"""Others' published laws of scaling, written down from their documentation; formulas and sources.

Everything is taken in their favour where it is not published: metrics are fresh at each tick, and
what goes first is a replica that is starting, then the one with the fewest requests.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from docs.plots.autoscaling.law import View
from plimsoll_planner.simulation.summary import percentile


class Fixed:
    """So many replicas, always."""

    interval = 600.0

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def desired(self, view: View) -> int:  # noqa: ARG002
        return self._replicas


@dataclass
class Behavior:
    """`behavior` of a HorizontalPodAutoscaler: windows, and how far in one period.

    Up, the largest change that a policy allows counts; down, `down_pods` or all. Source:
    kubernetes.io, "Horizontal Pod Autoscaling", "Configurable scaling behavior".
    """

    up_window: float = 0.0
    up_percent: float = 100.0
    up_pods: int = 4
    up_period: float = 15.0
    down_window: float = 300.0
    down_pods: int = 1000
    down_period: float = 15.0
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def apply(self, desired: int, current: int, now: float) -> int:
        """The count after windows and policies."""
        self._wanted.append((now, desired))
        horizon = max(self.up_window, self.down_window)
        while self._wanted[0][0] < now - horizon:
            self._wanted.popleft()
        up = min(n for at, n in self._wanted if at >= now - self.up_window)
        down = max(n for at, n in self._wanted if at >= now - self.down_window)
        settled = up if current < up else down if current > down else current
        period = self.up_period if settled > current else self.down_period
        recent = sum(delta for at, delta in self._changes if at > now - period)
        if settled > current:
            start = current - max(0, recent)
            most = max(math.ceil(start * (1 + self.up_percent / 100)), start + self.up_pods)
            settled = max(current, min(settled, most))
        elif settled < current:
            start = current - min(0, recent)
            settled = min(current, max(settled, start - self.down_pods))
        if settled != current:
            self._changes.append((now, settled - current))
        return settled


class QueueDepthHPA:
    """HorizontalPodAutoscaler on `vllm:num_requests_waiting`, AverageValue `target` a pod.

    `desired = ceil(ready · average / target)` outside of a tolerance of 10 %; a pod without metrics
    counts 0 on the way up and `target` on the way down; 15 s between looks. Source: kubernetes.io,
    "Horizontal Pod Autoscaling", "Algorithm details"; targets of 3 to 5 and more: Google, "Best
    practices for autoscaling LLM inference workloads with GPUs on GKE".
    """

    interval = 15.0
    tolerance = 0.1

    def __init__(self, target: float, behavior: Behavior) -> None:
        self._target = target
        self._behavior = behavior

    def desired(self, view: View) -> int:
        return self._behavior.apply(max(1, self._raw(view)), view.asked, view.now)

    def _raw(self, view: View) -> int:
        if not view.ready:
            return view.asked
        ratio = view.waiting / len(view.ready) / self._target
        if abs(ratio - 1) <= self.tolerance:
            return view.asked
        missing = max(0, view.asked - len(view.ready))
        counted = len(view.ready) + missing
        extra = missing * self._target if ratio < 1 else 0.0
        again = (view.waiting + extra) / counted / self._target
        if abs(again - 1) <= self.tolerance or (again > 1) != (ratio > 1):
            return view.asked
        replicas = math.ceil(again * counted)
        return view.asked if (replicas > view.asked) != (again > 1) else replicas


class KPA:
    """Knative's pod autoscaler on concurrency: a stable and a panic window.

    `ceil(average over 60 s / target)`; panic while `ceil(average over 6 s / target)` is at least
    twice the ready replicas, and until that has not been so for a stable window; in panic the
    count only grows. Up at most to 1000 times, down at most to half of what is ready; 2 s between
    looks. Source: knative/serving, `pkg/autoscaler/scaling/autoscaler.go`; defaults in
    `config-autoscaler`.
    """

    interval = 2.0

    def __init__(self, target: float, window: float = 60.0, delay: float = 0.0) -> None:
        self._target = target
        self._window = window
        self._delay = delay
        self._seen: deque[tuple[float, int]] = deque()
        self._panic: float | None = None
        self._most = 0
        self._wanted: deque[tuple[float, int]] = deque()

    def desired(self, view: View) -> int:
        now, ready = view.now, max(1, len(view.ready))
        self._seen.append((now, view.concurrency))
        while self._seen[0][0] <= now - self._window:
            self._seen.popleft()
        floor = ready // 2
        stable = max(math.ceil(self._average(self._window, now) / self._target), floor)
        burst = math.ceil(self._average(self._window / 10, now) / self._target)
        if burst / ready >= 2:
            if self._panic is None:
                self._most = ready
            self._panic = now
        elif self._panic is not None and self._panic + self._window < now:
            self._panic, self._most = None, 0
        wanted = stable
        if self._panic is not None:
            self._most = wanted = max(self._most, stable, burst)
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self._delay:
            self._wanted.popleft()
        return max(1, *(count for _, count in self._wanted))

    def _average(self, window: float, now: float) -> float:
        values = [count for at, count in self._seen if at > now - window]
        return sum(values) / len(values)


class KubeAI:
    """KubeAI's moving average: `ceil(average of active requests / targetRequests)`.

    Every 10 s, over 10 min by default; down only after `delay` (30 s by default) of fewer. Its
    average begins with zeros; here with the first value. Source: substratusai/kubeai,
    `internal/modelautoscaler/autoscaler.go` and `charts/kubeai/values.yaml`.
    """

    interval = 10.0

    def __init__(self, target: float, window: float = 600.0, delay: float = 30.0) -> None:
        self._target = target
        self._length = max(1, round(window / self.interval))
        self._required = math.ceil(delay / self.interval)
        self._seen: deque[int] = deque(maxlen=self._length)
        self._lows = 0

    def desired(self, view: View) -> int:
        self._seen.append(view.concurrency)
        wanted = max(1, math.ceil(sum(self._seen) / len(self._seen) / self._target))
        if wanted >= view.asked:
            self._lows = 0
            return wanted
        self._lows += 1
        if self._lows <= self._required:
            return view.asked
        self._lows = 0
        return wanted


class SLOAware:
    """llm-d's law on latency over promise.

    `s_raw = max(P90 TTFT / promise, P90 TPOT / promise)` over 1 min, every 15 s, at most 2; `s` its
    mean over 45 s. Above `up`: `n + ceil(n · (s · ready/n / up - 1))`; below `down`:
    `n - floor(n · (1 - s / down))`. Then `behavior`: up at most doubled or 4 pods in 60 s, the
    least of 30 s; down 1 pod in 120 s, the most of 180 s. Source: llm-d/llm-d,
    `docs/architecture/autoscaling/slo-aware.md`.
    """

    interval = 15.0

    def __init__(self, ttft: float, tpot: float, up: float = 0.55, down: float = 0.40) -> None:
        self._promise = (ttft, tpot)
        self._up, self._down = up, down
        self._recent: deque[float] = deque(maxlen=3)
        self._behavior = Behavior(30, 100, 4, 60, 180, 1, 120)

    def desired(self, view: View) -> int:
        figures = (view.ttfts, view.tpots)
        raw = max(
            _p90(values, view.now - 60) / promise
            for values, promise in zip(figures, self._promise, strict=True)
        )
        self._recent.append(min(raw, 2.0))
        s, n = sum(self._recent) / len(self._recent), view.asked
        credit = len(view.ready) / n if 0 < len(view.ready) < n else 1.0
        wanted = n
        if s > self._up:
            wanted = n + math.ceil(n * (s * credit / self._up - 1))
        elif s < self._down:
            wanted = n - math.floor(n * (1 - s / self._down))
        return self._behavior.apply(max(1, wanted), n, view.now)


def _p90(values: Sequence[tuple[float, float]], since: float) -> float:
    """Of the values since then; 0 without any."""
    recent = []
    for at, value in reversed(values):
        if at < since:
            break
        recent.append(value)
    return percentile(sorted(recent), 0.9) if recent else 0.0
