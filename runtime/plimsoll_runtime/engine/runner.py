"""Runs the model for a step of the scheduler, on CPU or CUDA."""

import logging

import torch
from torch import Tensor

from plimsoll_runtime.attention.backend import choose_attention, describe
from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import (
    MetadataBuilder,
    Numbers,
    SequenceSpan,
    device_tensor,
)
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.core.step import PromptTargets, ScheduledRequest, SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.choice import NOT_FINITE, TokenChooser
from plimsoll_runtime.engine.decode_graphs import DecodeGraphs
from plimsoll_runtime.engine.drafts import Drafter, Proposer
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.native_sampler import choose_sampler
from plimsoll_runtime.engine.pooling import Pooled, pool_prompts
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.scoring import Scores, head_chunks, score_prompts, target_rows
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.operations import choose_operations

logger = logging.getLogger(__name__)


class ModelRunner:
    """Holds the model and its KV cache; see `Runner` in `engine.execution`.

    `threads` is how many threads compute on CPU; None leaves torch's setting. Without `grammars`
    a request that brings one ends with an error. Without a `proposer` nobody has drafts. Raises
    ValueError when an attention backend is asked for that cannot be had.
    """

    def __init__(  # noqa: PLR0913 - the last by name
        self,
        model: LlamaForCausalLM,
        cache: KVCache,
        device: torch.device,
        threads: int | None = None,
        grammars: GrammarCompiler | None = None,
        *,
        proposer: Proposer | None = None,
        attention_backend: AttentionBackend = AttentionBackend.AUTO,
    ) -> None:
        self.model = model
        self.cache = cache
        self.device = device
        self._threads = threads
        self._attention = choose_attention(cache, attention_backend)
        self._metadata = MetadataBuilder(cache.block_size, cache.num_blocks, device)
        self._token_ids = Numbers(device)
        self._graphs: DecodeGraphs | None = None
        model.use(choose_operations(model.norm.weight, attention_backend))
        self.sampler = choose_sampler(device, attention_backend)
        self._chooser = TokenChooser(grammars, self.sampler)
        self._drafter = None if proposer is None else Drafter(proposer, self._chooser.num_possible)

    @property
    def attention_path(self) -> str:
        """How attention is computed, for people, and what CUDA graphs there are."""
        path = describe(self._attention)
        return path if self._graphs is None else f"{path}, {self._graphs.description}"

    @torch.inference_mode()
    def capture(self, graphs: DecodeGraphs) -> None:
        """Has `graphs` made, and decode steps computed by them, before requests come.

        Where they cannot be made, it says so, and all steps stay as they are.
        """
        try:
            graphs.capture(self._eager)
        except Exception as error:
            logger.warning(
                "no CUDA graphs, so small steps take longer; --cuda-graphs off does not try: %s",
                error,
                exc_info=True,
            )
        else:
            self._graphs = graphs

    @torch.inference_mode()
    def execute(self, output: SchedulerOutput) -> StepResult:
        """Computes every scheduled token and samples where a request has caught up."""
        if self._drafter is None:
            return self._run(output)
        drafted = self._drafter.extend(output)
        result = self._run(drafted)
        # In attention a draft that makes NaN spoils the rows before it too: 0 times NaN is NaN.
        if any(item.request_id in result.errors for item in drafted.scheduled if item.num_drafts):
            result = self._run(output)
        return result

    def _run(self, output: SchedulerOutput) -> StepResult:
        logits, scores, pooled = self._compute(output, plan_step(output))
        sampling = [item for item in output.scheduled if item.samples]
        choices = self._chooser.choose(logits, sampling)
        return StepResult(
            choices.sampled,
            choices.errors | dict.fromkeys(scores.not_finite, NOT_FINITE) | pooled.errors,
            choices.refused,
            choices.logprobs,
            scores.prompt_logprobs,
            pooled.vectors,
            choices.accepted,
            {item.request_id: item.num_drafts for item in sampling if item.num_drafts},
        )

    @torch.inference_mode()
    def follow(self, step: Step) -> None:
        """Does a rank's share of what `execute` does on rank 0, call for call."""
        hidden, _ = self.forward(step)
        for rows in head_chunks(step.target_rows, self.model.config.vocab_size):
            self.model.logits(hidden[torch.tensor(rows, device=self.device)])

    def _compute(self, output: SchedulerOutput, step: Step) -> tuple[Tensor, Scores, Pooled]:
        """All of a step in which ranks need each other; none is left when tokens are chosen."""
        hidden, logits = self.forward(step)
        model = self.model
        items = output.scheduled
        vocab_size = model.config.vocab_size
        scores = score_prompts(hidden, items, model.logits, vocab_size, self.sampler)
        return logits, scores, pool_prompts(hidden, items, model.norm)

    def forward(self, step: Step) -> tuple[Tensor, Tensor]:
        """Hidden states `[T, hidden]` and logits `[sample_rows, vocab]` fp32.

        The hidden states are good until the next step.
        """
        hidden = None if self._graphs is None else self._graphs.run(step)
        if hidden is None:
            hidden = self._eager(step)
        sampled = hidden
        if len(step.sample_rows) < hidden.shape[0]:
            sampled = hidden.index_select(0, device_tensor(step.sample_rows, self.device))
        return hidden, self.model.logits(sampled)

    def _eager(self, step: Step) -> Tensor:
        """Hidden states `[T, hidden]`, without a graph."""
        metadata = self._metadata.build(step.spans)
        self._attention.plan(metadata)
        token_ids = self._token_ids.tensor(step.token_ids)
        return self.model.hidden_states(token_ids, metadata.positions, self._attention)

    def warm_up(self) -> None:
        """A prompt and a decode, in a block that nobody holds yet."""
        if self._threads is not None:
            # OpenMP keeps this for each thread that starts parallel work: set it in the engine's.
            torch.set_num_threads(self._threads)
        self.execute(_dummy_step([_dummy(1, [0]), _dummy(min(2, self.cache.block_size), [0])]))

    def profile(self, limits: EngineLimits, drafts: SpeculativeConfig | None = None) -> None:
        """The largest step that `limits` and `drafts` allow, to measure the memory that it needs.

        All sequences share the same few blocks: this runs before requests come. Of several ranks
        all must call it.
        """
        longest = -(-limits.max_model_len // self.cache.block_size)
        blocks = list(range(min(longest, self.cache.num_blocks)))
        decodes = limits.max_num_seqs - 1
        spare = limits.max_num_batched_tokens - limits.max_num_seqs
        count = 0 if drafts is None else drafts.drafts_each(limits.max_num_seqs, decodes, spare)
        length = min(
            limits.max_num_batched_tokens - decodes * (1 + count),
            limits.max_model_len,
            len(blocks) * self.cache.block_size,
        )
        prompt = _dummy(length, blocks)._replace(targets=PromptTargets(0, [0] * length))
        decode = _dummy(1 + count, blocks)._replace(num_drafts=count)
        output = _dummy_step([decode] * decodes + [prompt])
        if self.model.group.rank == 0:
            self.execute(output)
        else:
            self.follow(plan_step(output))


def plan_step(output: SchedulerOutput) -> Step:
    """What the model has to compute, of every rank the same."""
    spans = []
    token_ids: list[int] = []
    sample_rows: list[int] = []
    for item in output.scheduled:
        spans.append(SequenceSpan(item.start, len(item.token_ids), item.block_ids))
        token_ids += item.token_ids
        if item.samples:
            sample_rows += range(len(token_ids) - 1 - item.num_drafts, len(token_ids))
    return Step(token_ids, spans, sample_rows, target_rows(output.scheduled))


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
