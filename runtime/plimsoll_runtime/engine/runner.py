"""Runs the model for a step of the scheduler, on CPU or CUDA."""

import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import PagedAttention
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.scheduler import ScheduledRequest, SchedulerOutput
from plimsoll_runtime.engine.engine import StepResult
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.sampler import SampleRow, sample
from plimsoll_runtime.model.llama import LlamaForCausalLM

NOT_FINITE = "the model's logits are not finite for this request"


class ModelRunner:
    """Holds the model and its KV cache; see `Runner` in `engine.engine`.

    `threads` is how many threads compute on CPU; None leaves torch's setting.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        cache: KVCache,
        device: torch.device,
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.cache = cache
        self.device = device
        self._threads = threads
        self._attention = PagedAttention(cache)

    @torch.inference_mode()
    def execute(self, output: SchedulerOutput) -> StepResult:
        """Computes every scheduled token and samples where a request has caught up."""
        sampling = [item for item in output.scheduled if item.samples]
        logits = self.forward(plan_step(output))
        chosen = sample(logits, [SampleRow(item.sampling, item.output_index) for item in sampling])
        result = StepResult()
        for item, token in zip(sampling, chosen, strict=True):
            if token is None:
                result.errors[item.request_id] = NOT_FINITE
            else:
                result.sampled[item.request_id] = token
        return result

    @torch.inference_mode()
    def forward(self, step: Step) -> Tensor:
        """Runs the model; logits `[sample_rows, vocab]` fp32."""
        cache = self.cache
        metadata = build_metadata(step.spans, cache.block_size, cache.num_blocks, self.device)
        self._attention.plan(metadata)
        positions: list[int] = []
        for span in step.spans:
            positions += range(span.start, span.start + span.query_len)
        logits: Tensor = self.model(
            torch.tensor(step.token_ids).to(self.device),
            torch.tensor(positions).to(self.device),
            self._attention,
            torch.tensor(step.sample_rows, dtype=torch.int64).to(self.device),
        )
        return logits

    def warm_up(self) -> None:
        """A prompt and a decode, in a block that nobody holds yet."""
        if self._threads is not None:
            # OpenMP keeps this for each thread that starts parallel work: set it in the engine's.
            torch.set_num_threads(self._threads)
        self.execute(_dummy_step([_dummy(1, [0]), _dummy(min(2, self.cache.block_size), [0])]))

    def profile(self, limits: EngineLimits) -> None:
        """The largest step that `limits` allow, to measure the memory that it needs.

        All sequences share the same few blocks: this runs before requests come.
        """
        blocks = list(range(self.cache.num_blocks))
        decodes = limits.max_num_seqs - 1
        length = min(
            limits.max_num_batched_tokens - decodes,
            limits.max_model_len,
            len(blocks) * self.cache.block_size,
        )
        self.execute(_dummy_step([_dummy(1, blocks)] * decodes + [_dummy(length, blocks)]))


def plan_step(output: SchedulerOutput) -> Step:
    """What the model has to compute, of every rank the same."""
    spans = []
    token_ids: list[int] = []
    sample_rows: list[int] = []
    for item in output.scheduled:
        spans.append(SequenceSpan(item.start, len(item.token_ids), item.block_ids))
        token_ids += item.token_ids
        if item.samples:
            sample_rows.append(len(token_ids) - 1)
    return Step(token_ids, spans, sample_rows)


def _dummy(length: int, block_ids: list[int]) -> ScheduledRequest:
    return ScheduledRequest(
        request_id="dummy",
        token_ids=[0] * length,
        start=0,
        block_ids=block_ids,
        samples=True,
        output_index=0,
        sampling=SamplingParams(max_tokens=1, top_p=0.9, seed=0),
    )


def _dummy_step(items: list[ScheduledRequest]) -> SchedulerOutput:
    tokens = sum(len(item.token_ids) for item in items)
    return SchedulerOutput(items, [], tokens, tokens)
