"""A request as a trace tells of it: when, how long, whose; never what it says."""

from typing import NamedTuple

PREFIX_BLOCK = 512
"""Tokens of the prompt that a prefix id stands for, in Mooncake's traces."""


class Arrival(NamedTuple):
    """One request, `at` seconds from the beginning; lengths in tokens.

    Each of `prefix_ids` stands for the next `prefix_block` tokens of the prompt, the last one
    perhaps for fewer; equal ids mean equal prompts up to the end of that block. What follows is in
    no other prompt. A smaller `priority` is more urgent.
    """

    at: float
    prompt_tokens: int
    output_tokens: int
    prefix_ids: tuple[int, ...] = ()
    tenant: str = ""
    priority: int = 0
    prefix_block: int = PREFIX_BLOCK

    def prompt(self, own: int) -> list[int]:
        """Made-up tokens of the prompt; `own` is a token that no other request has.

        Eight bytes each, which a replica holds until the request ends.
        """
        tokens: list[int] = []
        for prefix_id in self.prefix_ids:
            tokens += [prefix_id] * self.prefix_block
        del tokens[self.prompt_tokens :]
        return tokens + [own] * (self.prompt_tokens - len(tokens))

    def within(self, max_model_len: int) -> "Arrival":
        """The request cut to a context of `max_model_len` tokens, at least 2: first the prompt,
        where it leaves no room for an answer, then the answer."""
        prompt = min(self.prompt_tokens, max_model_len - 1)
        output = min(self.output_tokens, max_model_len - prompt)
        if prompt == self.prompt_tokens and output == self.output_tokens:
            return self
        return self._replace(prompt_tokens=prompt, output_tokens=output)
