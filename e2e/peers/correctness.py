"""Whether an answer is what the model says, by transformers in float32.

Greedy answers in bfloat16 part where two tokens are nearly as likely, and all that follows differs.
So the answer is given to the reference as it is: at each place its token must be the likeliest
there, or miss it by no more than rounding does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TOLERANCE = 0.1
"""Of a standard deviation of a place's logits: what rounding to the 8 bits of bfloat16 makes of
sums. The second likeliest of 50,000 random tokens is 0.2 behind the likeliest on average."""


@dataclass(frozen=True)
class Answered:
    """Tokens of a prompt and of the greedy answer, and the log-probability that the engine gave to
    each but the first of them; empty where it tells none."""

    prompt: Sequence[int]
    answer: Sequence[int]
    logprobs: Sequence[float]


@dataclass(frozen=True)
class Agreement:
    """`likeliest` of `tokens` of the answer are the reference's own choice; `short` is how much
    likelier its choice was where they are not, and `off` how far the log-probabilities of prompt
    and answer are from its own: the most, in standard deviations of the logits at that place."""

    tokens: int
    likeliest: int
    short: float
    off: float

    @property
    def holds(self) -> bool:
        """Whether both are within TOLERANCE."""
        return self.tokens > 0 and max(self.short, self.off) <= TOLERANCE


def agreement(folder: Path, answered: Answered) -> Agreement:
    """With the model in `folder`."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Any = AutoModelForCausalLM.from_pretrained
    model = load(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([[*answered.prompt, *answered.answer]])).logits[0, :-1]
    return of_logits(logits, answered)


def of_logits(logits: torch.Tensor, answered: Answered) -> Agreement:
    """`logits` [tokens - 1, vocabulary] are the reference's after each token but the last."""
    tokens = torch.tensor([*answered.prompt, *answered.answer])[1:]
    deviation = logits.std(dim=1)
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    short = ((logits.max(dim=1).values - chosen) / deviation)[len(answered.prompt) - 1 :]
    off = 0.0
    if answered.logprobs:
        told = torch.tensor(answered.logprobs, dtype=logits.dtype)
        off = float(((chosen - logits.logsumexp(dim=1) - told).abs() / deviation).max())
    return Agreement(len(answered.answer), int((short == 0).sum()), float(short.max()), off)
