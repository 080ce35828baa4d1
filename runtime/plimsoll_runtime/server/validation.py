"""From a JSON body to a request that the engine can serve, or a 400 that names the field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.server.errors import APIError, bad_request, shown
from plimsoll_runtime.server.protocol import MAX_STOP_BYTES, GenerationRequest
from plimsoll_runtime.server.sequence import TextOptions
from plimsoll_runtime.server.tokenizer import Tokenizer

B = TypeVar("B", bound=BaseModel)
R = TypeVar("R", bound=GenerationRequest)

SEED_MASK = 2**63 - 1
MAX_ID_DIGITS = 18
MAX_SCORED = 2**18
"""Logprobs of prompts in one answer: 128 K tokens, each with its own and the likeliest one's."""


@dataclass(frozen=True)
class Extras:
    """What both APIs ask for in words of their own, in the engine's: see `SamplingParams`."""

    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: str | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()


NO_EXTRAS = Extras()


@dataclass(frozen=True)
class ModelLimits:
    """`max_model_len` bounds prompt and answer together; `eos_token_ids` end an answer."""

    max_model_len: int
    vocab_size: int
    eos_token_ids: frozenset[int]


def parse_request(
    body: Mapping[str, Any], kind: type[R], unsupported: Mapping[str, tuple[object, ...]]
) -> R:
    """Validates `body` as `kind`. Raises APIError 400 naming the first field at fault."""
    request = parse_body(body, kind, unsupported)
    _check_fields(request)
    return request


def parse_body(
    body: Mapping[str, Any], kind: type[B], unsupported: Mapping[str, tuple[object, ...]]
) -> B:
    """The same for what generates nothing."""
    for name, neutral in unsupported.items():
        if name in body and not any(_same(body[name], each) for each in neutral):
            raise bad_request(
                f"{name} is not supported by this server and would change the answer: leave it out",
                param=name,
            )
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from error


def sampling_params(
    request: GenerationRequest,
    num_prompt_tokens: int,
    max_tokens: int | None,
    model: ModelLimits,
    extras: Extras = NO_EXTRAS,
) -> SamplingParams:
    """The engine's parameters for a prompt of `num_prompt_tokens`; no `max_tokens`: all that fit.

    Raises APIError 400.
    """
    room = model.max_model_len - num_prompt_tokens
    if room < 1 or (max_tokens is not None and max_tokens > room):
        wanted = "" if max_tokens is None else f" and max_tokens is {max_tokens}"
        raise context_too_long(num_prompt_tokens, model.max_model_len, wanted)
    limit = room if max_tokens is None else max_tokens
    min_tokens = request.min_tokens or 0
    if min_tokens > limit:
        raise bad_request(
            f"min_tokens {min_tokens} is more than the {limit} tokens that max_tokens allows",
            param="min_tokens",
        )
    stop_token_ids = frozenset(request.stop_token_ids or ())
    for token_id in stop_token_ids:
        if token_id >= model.vocab_size:
            raise bad_request(
                f"stop_token_ids: {token_id} is not in the vocabulary of {model.vocab_size} tokens",
                param="stop_token_ids",
            )
    if extras.grammar is not None and request.ignore_eos:
        raise bad_request(
            "ignore_eos cannot go with response_format, whose end is an end-of-sequence token",
            param="ignore_eos",
        )
    sampling = SamplingParams(
        max_tokens=limit,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        top_k=max(0, request.top_k or 0),
        seed=None if request.seed is None else request.seed & SEED_MASK,
        min_tokens=min_tokens,
        stop_token_ids=stop_token_ids
        if request.ignore_eos
        else stop_token_ids | model.eos_token_ids,
        min_p=request.min_p or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        repetition_penalty=request.repetition_penalty or 1.0,
        logit_bias=_logit_bias(request.logit_bias or {}),
        allowed_token_ids=tuple(dict.fromkeys(request.allowed_token_ids or ())),
        bad_words=extras.bad_words,
        grammar=extras.grammar,
        logprobs=extras.logprobs,
        prompt_logprobs=extras.prompt_logprobs,
    )
    try:
        sampling.check_tokens(model.vocab_size)
    except ValueError as error:
        raise bad_request(str(error), param=str(error).partition(":")[0]) from error
    return sampling


def _logit_bias(bias: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    """Pairs of token id and bias; JSON has ids as text."""
    pairs: dict[int, float] = {}
    for key, value in bias.items():
        if not (key.isascii() and key.isdecimal() and len(key) < MAX_ID_DIGITS):
            raise bad_request(
                f"logit_bias: the key {shown(key)} is not a token id", param="logit_bias"
            )
        pairs[int(key)] = value
    return tuple(pairs.items())


def check_scored(num_prompt_tokens: int, extras: Extras) -> None:
    """Raises APIError 400 when the logprobs of prompts of so many tokens would be too many."""
    if extras.prompt_logprobs is None:
        return
    entries = num_prompt_tokens * (extras.prompt_logprobs + 1)
    if entries > MAX_SCORED:
        raise bad_request(
            f"{entries} logprobs of {num_prompt_tokens} prompt tokens; at most {MAX_SCORED} are "
            "told in one answer: send shorter or fewer prompts, or ask for fewer logprobs",
            param="logprobs",
        )


def text_options(request: GenerationRequest) -> TextOptions:
    """How the answer's text is made."""
    return TextOptions(
        stop=tuple(request.stop or ()),
        include_stop=bool(request.include_stop_str_in_output),
        skip_special_tokens=request.skip_special_tokens is not False,
        min_tokens=request.min_tokens or 0,
        stop_token_ids=frozenset(request.stop_token_ids or ()),
    )


def check_length(tokenizer: Tokenizer, text: str, max_model_len: int) -> None:
    """Raises APIError 400 for text so long that no tokenization of it fits the context."""
    fewest = tokenizer.fewest_tokens(text)
    if fewest >= max_model_len:
        raise context_too_long(f"at least {fewest}", max_model_len)


def check_token_ids(ids: Sequence[int], vocab_size: int, param: str) -> None:
    """Raises APIError 400 for ids that are not in the vocabulary."""
    wrong = next((each for each in ids if not 0 <= each < vocab_size), None)
    if wrong is not None:
        raise bad_request(
            f"{param}: token id {shown(wrong)} is not in the vocabulary of {vocab_size} tokens",
            param=param,
        )


def context_too_long(num_prompt_tokens: int | str, max_model_len: int, more: str = "") -> APIError:
    """The error that clients know as context_length_exceeded."""
    return bad_request(
        f"this model's maximum context length is {max_model_len} tokens, prompt and answer "
        f"together; the prompt has {num_prompt_tokens}{more}: shorten the prompt or ask for fewer "
        "tokens",
        param="max_tokens" if more else "prompt",
        code="context_length_exceeded",
    )


def invalid(error: ValidationError) -> APIError:
    """400 for the first field at fault."""
    fault = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    said = fault["type"] in ("missing", "too_long", "too_short")
    value = "" if said else f", not {shown(fault['input'])}"
    return bad_request(f"{path}: {message}{value}", param=path or None)


def _same(value: object, other: object) -> bool:
    """Whether two values from JSON are equal: 0 is 0.0 there, but not false."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _check_fields(request: GenerationRequest) -> None:
    for stop in request.stop or ():
        if len(stop.encode()) > MAX_STOP_BYTES:
            raise bad_request(
                f"stop: {shown(stop)} is longer than {MAX_STOP_BYTES} bytes", param="stop"
            )
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise bad_request(
            "best_of is not supported unless it equals n: leave it out", param="best_of"
        )
    if request.prompt_logprobs is not None and request.stream:
        raise bad_request(
            "prompt_logprobs cannot be streamed: send stream false", param="prompt_logprobs"
        )
    if request.stream_options is not None and not request.stream:
        raise bad_request("stream_options is only allowed with stream true", param="stream_options")
