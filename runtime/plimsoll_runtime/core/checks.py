"""What no engine with given limits could ever serve."""

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import Request


def check_limits(request: Request, limits: EngineLimits) -> None:
    """Raises ValueError when an engine with these limits could never serve the request."""
    length = len(request.prompt_token_ids)
    if length < 1:
        raise ValueError("the prompt has no tokens")
    sampling = request.sampling
    most = limits.max_model_len - (sampling.pooling is None)
    if length > most:
        raise ValueError(
            f"the prompt has {length} tokens; with max_model_len {limits.max_model_len} "
            f"at most {most} leave room for an answer"
        )
    if sampling.max_tokens < 0:
        raise ValueError(f"max_tokens must be at least 0, not {sampling.max_tokens}")
    if sampling.pooling is not None and sampling.max_tokens:
        raise ValueError(f"with pooling max_tokens must be 0, not {sampling.max_tokens}")


def check_request(request: Request, limits: EngineLimits, vocab_size: int) -> None:
    """Raises ValueError for what no engine with these limits and this vocabulary could serve."""
    check_limits(request, limits)
    lowest, highest = min(request.prompt_token_ids), max(request.prompt_token_ids)
    if lowest < 0 or highest >= vocab_size:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"token id {wrong} is not in the vocabulary of {vocab_size} tokens")
    request.sampling.check_tokens(vocab_size)
