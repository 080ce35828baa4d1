"""Runs the model for a step of the scheduler, on CPU or CUDA."""

import torch

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import PagedAttention
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.scheduler import PromptTargets, ScheduledRequest, SchedulerOutput
from plimsoll_runtime.engine.choice import NOT_FINITE, TokenChooser
from plimsoll_runtime.engine.engine import StepResult
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.scoring import score_prompts
from plimsoll_runtime.model.llama import LlamaForCausalLM


class ModelRunner:
    """Holds the model and its KV cache; see `Runner` in `engine.engine`.

    `threads` is how many threads compute on CPU; None leaves torch's setting. Without `grammars`
    a request that brings one ends with an error.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        cache: KVCache,
        device: torch.device,
        threads: int | None = None,
        grammars: GrammarCompiler | None = None,
    ) -> None:
        self.model = model
        self.cache = cache
        self.device = device
        self._threads = threads
        self._attention = PagedAttention(cache)
        self._chooser = TokenChooser(grammars)

    @torch.inference_mode()
    def execute(self, output: SchedulerOutput) -> StepResult:
        """Computes every scheduled token and samples where a request has caught up."""
        spans = []
        token_ids: list[int] = []
        positions: list[int] = []
        sampling: list[ScheduledRequest] = []
        sample_rows: list[int] = []
        for item in output.scheduled:
            count = len(item.token_ids)
            spans.append(SequenceSpan(item.start, count, item.block_ids))
            token_ids += item.token_ids
            positions += range(item.start, item.start + count)
            if item.samples:
                sampling.append(item)
                sample_rows.append(len(token_ids) - 1)
        cache = self.cache
        self._attention.plan(build_metadata(spans, cache.block_size, cache.num_blocks, self.device))
        model = self.model
        hidden = model.hidden_states(
            torch.tensor(token_ids).to(self.device),
            torch.tensor(positions).to(self.device),
            self._attention,
        )
        at = torch.tensor(sample_rows, dtype=torch.int64).to(self.device)
        choices = self._chooser.choose(model.logits(hidden.index_select(0, at)), sampling)
        scores = score_prompts(hidden, output.scheduled, model.logits, model.config.vocab_size)
        return StepResult(
            choices.sampled,
            choices.errors | dict.fromkeys(scores.not_finite, NOT_FINITE),
            choices.refused,
            choices.logprobs,
            scores.prompt_logprobs,
        )

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
        prompt = _dummy(length, blocks)._replace(targets=PromptTargets(0, [0] * length))
        self.execute(_dummy_step([_dummy(1, blocks)] * decodes + [prompt]))


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
