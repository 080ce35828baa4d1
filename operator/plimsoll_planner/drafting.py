"""What drafts cost: a draft model's memory and time beside the model that it drafts for, and in any
case what the model takes to check them.

That a draft is accepted is not counted on: how many are depends on what is asked. So what is
predicted here is what holds when every draft is wrong.
"""

from dataclasses import dataclass, replace

from plimsoll_planner.inputs import DraftModel
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.performance.frontend_time import FrontendTime
from plimsoll_planner.performance.memory import (
    MemoryPlan,
    activation_bytes,
    block_bytes,
    state_bytes,
    without_kv_cache,
)
from plimsoll_planner.performance.roofline import step_time
from plimsoll_planner.performance.step_time import StepSeconds, StepTime
from plimsoll_planner.precision import UNQUANTIZED
from plimsoll_planner.search.shape import Shape


@dataclass(frozen=True)
class Drafter:
    """A draft model's sizes, None where drafts are looked up in the text, and how far and for how
    many sequences of a step there are some."""

    facts: ModelFacts | None
    num_tokens: int
    max_sequences: int

    @classmethod
    def of(cls, draft: DraftModel | None) -> "Drafter | None":
        """Of the one that was asked for, if one was."""
        if draft is None:
            return None
        facts = None if draft.model is None else model_facts(draft.model)
        return cls(facts, draft.num_tokens, draft.max_sequences)


@dataclass(frozen=True)
class DraftedStepTime:
    """Seconds of a step in which up to `max_sequences` sequences have `num_tokens` drafts.

    In every step the draft model computes the step's own tokens, after the last draft where that
    was right. That gives the first draft, and each further one takes a step of one token a
    sequence. Then the model computes a token and a row of logits more for each draft. Looking
    drafts up takes next to nothing, so that without a draft model only the latter counts.

    A step of more sequences has no drafts; here it has those of `max_sequences`. It so takes
    longer the more sequences it has, as `StepTime` does, and never less than the engine's.
    """

    target: StepTime
    draft: StepTime | None
    num_tokens: int
    max_sequences: int

    @property
    def per_request(self) -> float:
        """Seconds that a request spends outside of steps."""
        return self.target.per_request

    @property
    def frontend(self) -> FrontendTime | None:
        """What these seconds are made of, where it was measured."""
        return self.target.frontend

    def __call__(self, tokens: float, sequences: float, context: float, pairs: float) -> float:
        """Seconds of a step; see `StepTime`."""
        drafting = min(sequences, self.max_sequences)
        seen = drafting * context / sequences if sequences else 0.0
        checked = self.num_tokens * drafting
        checking = self.target(
            tokens + checked,
            sequences + checked,
            context + checked,
            pairs + self.num_tokens * seen,
        )
        if self.draft is None:
            return checking
        reading = self.draft(tokens + drafting, sequences, context, pairs + seen)
        further = self.draft(drafting, drafting, seen, seen)
        return reading + (self.num_tokens - 1) * further + checking

    def decode(self, sequences: float, context_each: float) -> float:
        """Seconds of a step that gives every one of `sequences` its next token."""
        context = sequences * context_each
        return self(sequences, sequences, context, context)


def step_seconds(facts: ModelFacts, shape: Shape, draft: Drafter | None) -> StepSeconds:
    """The step times of a model with its drafts, if it has any. Raises ValueError as
    `step_time` does."""
    target = step_time(facts, shape)
    if draft is None:
        return target
    own = None if draft.facts is None else step_time(draft.facts, _shape(shape, draft.facts))
    return DraftedStepTime(target, own, draft.num_tokens, draft.max_sequences)


def memory_without_kv_cache(
    facts: ModelFacts, shape: Shape, draft: Drafter | None, tokens: int, sequences: int
) -> MemoryPlan:
    """The memory of the first rank, which holds the draft model whole, before any KV cache.

    Activations of both count: what the allocator keeps of the one's is cut otherwise than the
    other's.
    """
    if draft is None:
        return without_kv_cache(facts, shape, tokens, sequences)
    checked = draft.num_tokens * min(sequences, draft.max_sequences)
    base = without_kv_cache(facts, shape, tokens, sequences + checked)
    own = draft.facts
    if own is None:
        return base
    alone = _shape(shape, own)
    return replace(
        base,
        weights=base.weights + own.weights_bytes(alone.weights),
        activations=base.activations + activation_bytes(own, alone, tokens, sequences),
        reserve=base.reserve + state_bytes(own, alone, sequences),
    )


def bytes_of_block(
    facts: ModelFacts, shape: Shape, draft: Drafter | None, context: float = 0.0
) -> int:
    """Bytes of a block of KV cache on the first rank, on average over sequences of `context`
    tokens: both models have one under each number."""
    own = block_bytes(facts, shape, context)
    if draft is None or draft.facts is None:
        return own
    return own + block_bytes(draft.facts, _shape(shape, draft.facts), context)


def _shape(shape: Shape, draft: ModelFacts) -> Shape:
    """The draft model's: one rank, with that rank's share of the cores; beside a quantized model
    it is in the format that it is published in, on `cpu` in BF16."""
    cores = shape.cpu_cores
    quantized = shape.weights not in UNQUANTIZED
    own = "BF16" if shape.is_cpu else draft.model.checkpoint.name
    return replace(
        shape,
        weights=own if quantized else shape.weights,
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        expert_parallel=False,
        cpu_cores=None if cores is None else cores / shape.tensor_parallel_size,
    )
