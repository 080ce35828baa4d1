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
class Agreement:
    """`likeliest` of `tokens` are the reference's own choice; `worst` is the largest shortfall of
    the others, in standard deviations of the logits at that place."""

    tokens: int
    likeliest: int
    worst: float

    @property
    def holds(self) -> bool:
        """Whether that is within TOLERANCE."""
        return self.tokens > 0 and self.worst <= TOLERANCE


def agreement(folder: Path, prompt: Sequence[int], answer: Sequence[int]) -> Agreement:
    """Of a greedy answer with the model in `folder`."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Any = AutoModelForCausalLM.from_pretrained
    model = load(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return of_logits(logits, torch.tensor(answer))


def of_logits(logits: torch.Tensor, answer: torch.Tensor) -> Agreement:
    """`logits` [tokens, vocabulary] at each place before its token in `answer` [tokens]."""
    chosen = logits.gather(1, answer[:, None])[:, 0]
    short = (logits.max(dim=1).values - chosen) / logits.std(dim=1)
    return Agreement(len(answer), int((short == 0).sum()), float(short.max()))
