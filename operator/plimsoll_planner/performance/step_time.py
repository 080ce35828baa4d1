"""The seconds of one engine step as a function of what it does."""

from dataclasses import dataclass
from math import expm1, hypot, inf
from typing import Protocol

from plimsoll_planner.performance.frontend_time import FrontendTime


class StepSeconds(Protocol):
    """How long steps take, whatever they are made of. `StepTime` says what the numbers are."""

    @property
    def per_request(self) -> float:
        """Seconds that a request spends outside of steps before its first token."""

    @property
    def frontend(self) -> FrontendTime | None:
        """Where it was measured, what these seconds are made of."""

    def __call__(self, tokens: float, sequences: float, context: float, pairs: float) -> float:
        """Seconds of a step."""

    def decode(self, sequences: float, context_each: float) -> float:
        """Seconds of a step that gives every one of `sequences` its next token."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of one model on one replica; `performance.step_time` makes it.

    A step runs the layers over `tokens` new tokens of `sequences` sequences that have `context`
    tokens (the new ones included) in sum, and multiplies `pairs` of a query with a context token.
    Its kernels follow one another:

    * matrix products: `√(compute² + read²)`, a roofline whose edge is round, as measured ones are
      (near it a kernel waits for both); for the layers, the head and the experts each;
    * attention: the context is read once, and the first query of a sequence is computed meanwhile;
      each pair beyond that takes `per_pair`. Layers with a sliding window see that much only;
    * activations and communication: `per_token`;
    * what comes in any case: `fixed`, and `per_sequence` for scheduling, sampling and streaming.

    With experts, a batch of `tokens` reads the share `1 - exp(expert_log_miss · tokens)` of them.
    `per_request` are the seconds that a request spends outside of steps before its first token,
    where no `frontend` was measured that says what they are made of.
    """

    per_request: float
    fixed: float
    per_sequence: float
    per_token: float
    compute_per_token: float
    read_fixed: float
    compute_per_sequence: float
    head_read: float
    per_context: float
    per_pair: float
    expert_compute_per_token: float = 0.0
    expert_read: float = 0.0
    expert_log_miss: float = 0.0
    window: float = inf
    per_window_context: float = 0.0
    per_window_pair: float = 0.0
    frontend: FrontendTime | None = None

    def __call__(self, tokens: float, sequences: float, context: float, pairs: float) -> float:
        """Seconds of a step."""
        beyond = pairs - context if pairs > context else 0.0
        seconds = (
            hypot(self.compute_per_token * tokens, self.read_fixed)
            + hypot(self.compute_per_sequence * sequences, self.head_read)
            + self.per_context * context
            + self.per_pair * beyond
        )
        if self.expert_read:
            touched = -expm1(self.expert_log_miss * tokens)
            seconds += hypot(self.expert_compute_per_token * tokens, self.expert_read * touched)
        if self.per_window_context:
            seconds += self._windowed(tokens, sequences, context, beyond)
        return seconds + self.fixed + self.per_sequence * sequences + self.per_token * tokens

    def decode(self, sequences: float, context_each: float) -> float:
        """Seconds of a step that gives every one of `sequences` its next token."""
        context = sequences * context_each
        return self(sequences, sequences, context, context)

    def _windowed(self, tokens: float, sequences: float, context: float, beyond: float) -> float:
        """Layers with a window: no sequence reads more of it, no token meets more."""
        seen = min(context, max(1.0, sequences) * self.window)
        return self.per_window_context * seen + self.per_window_pair * min(
            beyond, tokens * self.window
        )


def outside(step: StepSeconds, prompt_tokens: float) -> float:
    """Seconds outside of steps before the first token of a request that comes alone."""
    frontend = step.frontend
    return step.per_request if frontend is None else frontend.before_first_token(prompt_tokens)
