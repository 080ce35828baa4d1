"""Rank 0 of a tensor-parallel engine: runs its own share of each step, and tells the others."""

import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.drafts import Proposer
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.pooling import Pooled
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.ranks import Ranks
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.engine.scoring import Scores
from plimsoll_runtime.model.llama import LlamaForCausalLM


class TensorParallelRunner(ModelRunner):
    """A ModelRunner whose model runs on all ranks; choosing tokens is its own alone.

    Raises RunnerLostError once a rank is gone, or when the model fails here: others may then wait
    in a collective that never comes. A failure to choose concerns no other rank.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        model: LlamaForCausalLM,
        cache: KVCache,
        device: torch.device,
        threads: int | None,
        grammars: GrammarCompiler | None,
        ranks: Ranks,
        proposer: Proposer | None = None,
        attention_backend: AttentionBackend = AttentionBackend.AUTO,
    ) -> None:
        super().__init__(
            model,
            cache,
            device,
            threads,
            grammars,
            proposer=proposer,
            attention_backend=attention_backend,
        )
        self._ranks = ranks

    def execute(self, output: SchedulerOutput) -> StepResult:
        """See `Runner`."""
        result = super().execute(output)
        # An aborted collective on a GPU leaves garbage rather than an exception.
        self._ranks.check()
        return result

    def _compute(self, output: SchedulerOutput, step: Step) -> tuple[Tensor, Scores, Pooled]:
        self._ranks.send(step)
        try:
            return super()._compute(output, step)
        except Exception as error:
            raise self._ranks.lost(error) from error
