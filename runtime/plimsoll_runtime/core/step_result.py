"""What the model made of a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.core.speculation import AcceptedDrafts


@dataclass(frozen=True)
class StepResult:
    """A token, or an error message fit for the client, for each request that samples.

    Those in `refused` cannot go on by what they ask for themselves; they have neither of the other
    two. `logprobs` are those of the tokens, `prompt_logprobs` those of the `targets`, `pooled` the
    sums of the `pooled` spans in fp32, where wanted. Where `num_drafts` were checked for a request,
    those `accepted` come before its token.
    """

    sampled: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    logprobs: Mapping[str, TokenLogprobs] = field(default_factory=dict)
    prompt_logprobs: Mapping[str, tuple[TokenLogprobs, ...]] = field(default_factory=dict)
    pooled: Mapping[str, bytes] = field(default_factory=dict)
    accepted: Mapping[str, AcceptedDrafts] = field(default_factory=dict)
    num_drafts: Mapping[str, int] = field(default_factory=dict)
