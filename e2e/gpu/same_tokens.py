"""Whether greedy answers are the same, token by token, whatever computes the steps."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx

from e2e.gpu.serving import Served
from e2e.measured.random_llama import LLAMA_135M

PATIENCE_SECONDS = 600.0
REQUESTS = 24
"""At once and of different lengths: steps of every batch size up to that, prompts among them."""


def differences(
    model: Path, device: str, variants: Mapping[str, Sequence[str]], requests: int = REQUESTS
) -> list[str]:
    """Where a variant, options of `plimsoll serve`, answers otherwise than the first one.

    In float32, where rounding hardly ever decides between two tokens.
    """
    found: list[str] = []
    expected: list[list[int]] = []
    for name, options in variants.items():
        with (
            Served(model, "--dtype=float32", f"--device={device}", *options) as served,
            ThreadPoolExecutor(requests) as at_once,
        ):
            ask = partial(_answer, served.url, model.name)
            answers = list(at_once.map(ask, range(requests)))
        expected = expected or answers
        found += [
            f"{name}: request {number} differs from token {_first(answer, right)} on"
            for number, (answer, right) in enumerate(zip(answers, expected, strict=True))
            if answer != right
        ]
    return found


def _answer(url: str, model: str, number: int) -> list[int]:
    vocab = LLAMA_135M["vocab_size"]
    body = {
        "model": model,
        "prompt": [(7919 * number + 31 * place) % vocab for place in range(1 + 13 * number % 300)],
        "max_tokens": 16 + 5 * number,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=PATIENCE_SECONDS)
    tokens: list[int] = answer.raise_for_status().json()["choices"][0]["token_ids"]
    return tokens


def _first(answer: Sequence[int], right: Sequence[int]) -> int:
    pairs = zip(answer, right, strict=False)
    return next(
        (place for place, (a, b) in enumerate(pairs) if a != b), min(len(answer), len(right))
    )
