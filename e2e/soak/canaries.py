"""Requests whose answers must never change, to the last token and logprob."""

from typing import Any

import httpx

PROMPTS: tuple[Any, ...] = ("Who are you?", "def main(", "The", [100 + i for i in range(80)])
SAMPLING: tuple[dict[str, Any], ...] = (
    {"temperature": 0},
    {"temperature": 1, "seed": 7, "top_p": 0.9, "top_k": 50, "min_p": 0.01},
    {"temperature": 0.7, "seed": 3, "frequency_penalty": 0.5, "logit_bias": {"300": 2}},
)


class Canaries:
    """Asks them once, and later says what has changed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._expected = self._ask()

    def changed(self) -> list[str]:
        """One text for every answer whose tokens are not what they were."""
        return [
            f"request {index} was answered {answer} instead of {expected}"
            for index, (answer, expected) in enumerate(
                zip(self._ask(), self._expected, strict=True)
            )
            if answer != expected
        ]

    def _ask(self) -> list[list[int]]:
        answers = []
        with httpx.Client(base_url=self._url, timeout=120) as client:
            for prompt in PROMPTS:
                for sampling in SAMPLING:
                    body = {"prompt": prompt, "max_tokens": 40, "ignore_eos": True, **sampling}
                    answer = client.post("/v1/completions", json=body | {"return_token_ids": True})
                    answers.append(answer.raise_for_status().json()["choices"][0]["token_ids"])
        return answers
