"""A greedy answer as token ids, from any of the engines, to be held against a reference."""

import json
from typing import Any

import httpx

from e2e.peers.correctness import Answered
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.workloads import workload

PATIENCE_SECONDS = 600.0
TOKENS = 32


def answered(url: str, *, is_ours: bool, tokens: int = TOKENS) -> Answered:
    """What it says to W1's first prompt; ours tells log-probabilities too. Raises RuntimeError."""
    prompt = workload("W1", 1).requests[0].token_ids(TokenRange())
    wanted = {"prompt": prompt, "temperature": 0, "ignore_eos": True}
    try:
        if is_ours:
            return _with_logprobs(url, prompt, {**wanted, "max_tokens": tokens})
        found = _streamed(url, {**wanted, "max_tokens": tokens})
        # llama.cpp tells token ids in its own API only.
        found = found or _native(url, {**wanted, "n_predict": tokens, "return_tokens": True})
    except (httpx.HTTPError, LookupError, ValueError) as error:
        raise RuntimeError(f"no answer in token ids: {error}") from error
    return Answered(prompt, found, ())


def _with_logprobs(url: str, prompt: list[int], wanted: dict[str, Any]) -> Answered:
    body = {**wanted, "model": "model", "return_token_ids": True, "logprobs": 0}
    choice = _post(f"{url}/v1/completions", {**body, "prompt_logprobs": 0}).json()["choices"][0]
    told = zip(prompt[1:], choice["prompt_logprobs"][1:], strict=True)
    logprobs = [each[str(token)]["logprob"] for token, each in told]
    return Answered(prompt, choice["token_ids"], logprobs + choice["logprobs"]["token_logprobs"])


def _streamed(url: str, wanted: dict[str, Any]) -> list[int]:
    body = {**wanted, "model": "model", "return_token_ids": True, "stream": True}
    found: list[int] = []
    for line in _post(f"{url}/v1/completions", body).text.splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            for choice in json.loads(data).get("choices") or ():
                found += choice.get("token_ids") or ()
    return found


def _native(url: str, wanted: dict[str, Any]) -> list[int]:
    found: list[int] = _post(f"{url}/completion", wanted).json()["tokens"]
    return found


def _post(url: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(url, json=body, timeout=PATIENCE_SECONDS).raise_for_status()
