"""What the engine needs of whoever runs the model, and what it gets back for a step."""

from dataclasses import dataclass, field
from typing import Protocol

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.core.speculation import AcceptedDrafts
from plimsoll_runtime.core.step import SchedulerOutput


class RunnerLostError(RuntimeError):
    """The runner cannot run another step, whatever is asked of it."""


@dataclass(frozen=True)
class StepResult:
    """A token, or an error message fit for the client, for each request that samples.

    Those in `refused` cannot go on by what they ask for themselves; they have neither of the other
    two. `logprobs` are those of the tokens, `prompt_logprobs` those of the `targets`, `pooled` the
    sums of the `pooled` spans in fp32, where wanted. Where `num_drafts` were checked for a request,
    those `accepted` come before its token.
    """

    sampled: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    logprobs: dict[str, TokenLogprobs] = field(default_factory=dict)
    prompt_logprobs: dict[str, tuple[TokenLogprobs, ...]] = field(default_factory=dict)
    pooled: dict[str, bytes] = field(default_factory=dict)
    accepted: dict[str, AcceptedDrafts] = field(default_factory=dict)
    num_drafts: dict[str, int] = field(default_factory=dict)


class Runner(Protocol):
    """Runs the model for one step. Called only from the engine's thread."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        """Computes every scheduled token and samples.

        An exception ends all of the step's requests, RunnerLostError the engine.
        """

    def warm_up(self) -> None:
        """Runs a step that leaves nothing behind, so that the first request finds all ready."""
