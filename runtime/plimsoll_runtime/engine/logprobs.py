"""Log-probabilities of chosen tokens and of the likeliest, from the model's own distribution."""

from collections.abc import Sequence

import torch
from torch import Tensor

from plimsoll_runtime.core.request import TokenLogprobs


def token_logprobs(
    logits: Tensor, token_ids: Sequence[int], num_top: Sequence[int]
) -> list[TokenLogprobs]:
    """For each row of `logits` `[rows, vocab]` fp32 its token and the `num_top` likeliest.

    `log_softmax` in fp32. Equal ones are told in the order of their ids. A token's rank is 1 for
    the likeliest, and the best of equals.
    """
    if not token_ids:
        return []
    logprobs = logits.log_softmax(dim=-1)
    chosen = torch.tensor(token_ids, device=logits.device).unsqueeze(1)
    own = logprobs.gather(1, chosen)
    ranks = (logprobs > own).sum(dim=-1) + 1
    top: list[tuple[tuple[int, float], ...]] = [()] * len(token_ids)
    # Rows that want different counts are apart, so that no row's depends on its neighbours'.
    for count in sorted({min(each, logits.shape[-1]) for each in num_top} - {0}):
        members = [i for i, each in enumerate(num_top) if min(each, logits.shape[-1]) == count]
        at = torch.tensor(members, device=logits.device)
        values, ids = logprobs.index_select(0, at).topk(count, dim=-1)
        for i, row_values, row_ids in zip(members, values.tolist(), ids.tolist(), strict=True):
            pairs = zip(row_ids, row_values, strict=True)
            top[i] = tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
    return [
        TokenLogprobs(*each)
        for each in zip(token_ids, own.squeeze(1).tolist(), ranks.tolist(), top, strict=True)
    ]
