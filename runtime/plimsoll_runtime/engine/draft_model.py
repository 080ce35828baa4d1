"""Drafts from a smaller model: what it would say next, greedily, to be checked by the large one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.model.llama import LlamaForCausalLM


class _Draft(NamedTuple):
    """A request's last draft, which the draft model has said but not read, and its position."""

    position: int
    token_id: int


class DraftModel:
    """Guesses for all requests of a step at once; see `Proposer`.

    Its KV cache has the blocks of the large model's, so that one block table serves both: in every
    step it computes what that one computes, and what is shared, preempted or found again is so for
    both. Of a draft that was accepted without the draft model having read it, keys and values are
    made up for in the next step. Those of a request that ended there stay as they were, zero at
    first: whoever shares that block may get a worse draft, never another answer.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        cache: KVCache,
        device: torch.device,
        attention_backend: AttentionBackend = AttentionBackend.AUTO,
    ) -> None:
        cache.pages.zero_()
        self._runner = ModelRunner(model, cache, device, attention_backend=attention_backend)
        self._unread: dict[str, _Draft] = {}

    @torch.inference_mode()
    def propose(self, output: SchedulerOutput) -> dict[str, list[int]]:
        """See `Proposer`."""
        drafting = [item for item in output.scheduled if item.max_drafts]
        drafts: dict[str, list[int]] = {item.request_id: [] for item in drafting}
        # Whoever is not in this step has no blocks in the next one: nothing of it is kept.
        unread, self._unread = self._unread, {}
        step: Step | None = _read(output.scheduled, unread)
        while step is not None:
            _, logits = self._runner.forward(step)
            largest = self._runner.sampler.scan(logits).largest
            for item, token_id in zip(drafting, largest, strict=True):
                drafts[item.request_id].append(token_id)
            drafting = [item for item in drafting if len(drafts[item.request_id]) < item.max_drafts]
            step = _go_on(drafting, drafts)
        for item in output.scheduled:
            if item.max_drafts:
                draft = _Draft(item.start + item.max_drafts, drafts[item.request_id][-1])
                self._unread[item.request_id] = draft
        return drafts


def _read(items: Sequence[ScheduledRequest], unread: Mapping[str, _Draft]) -> Step:
    """The large model's tokens, each after an accepted draft that was not read; it says what comes
    next for those that may have drafts."""
    token_ids: list[int] = []
    spans = []
    rows = []
    for item in items:
        new, start = item.token_ids, item.start
        draft = unread.get(item.request_id)
        if draft is not None and draft.position == start - 1:
            new, start = [draft.token_id, *new], start - 1
        token_ids += new
        spans.append(SequenceSpan(start, len(new), item.block_ids))
        if item.max_drafts:
            rows.append(len(token_ids) - 1)
    return Step(token_ids, spans, rows, [])


def _go_on(items: Sequence[ScheduledRequest], drafts: Mapping[str, list[int]]) -> Step | None:
    """The last drafts of `items`, to say what comes after each; None when there are none."""
    if not items:
        return None
    said = [drafts[item.request_id] for item in items]
    spans = [
        SequenceSpan(item.start + len(each), 1, item.block_ids)
        for item, each in zip(items, said, strict=True)
    ]
    return Step([each[-1] for each in said], spans, list(range(len(items))), [])
