"""Rank 0 of a tensor-parallel engine: runs its own share of each step, and tells the others."""

import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.core.scheduler import SchedulerOutput
from plimsoll_runtime.engine.engine import StepResult
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.engine.ranks import Ranks
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.model.llama import LlamaForCausalLM


class TensorParallelRunner(ModelRunner):
    """A ModelRunner whose forward pass runs on all ranks; sampling is its own alone.

    Raises RunnerLostError once a rank is gone, or when the pass fails here: others may then wait
    in a collective that never comes.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        cache: KVCache,
        device: torch.device,
        threads: int | None,
        ranks: Ranks,
    ) -> None:
        super().__init__(model, cache, device, threads)
        self._ranks = ranks

    def execute(self, output: SchedulerOutput) -> StepResult:
        """See `Runner`."""
        result = super().execute(output)
        # An aborted collective on a GPU leaves garbage rather than an exception.
        self._ranks.check()
        return result

    def forward(self, step: Step) -> Tensor:
        """See `ModelRunner`."""
        self._ranks.send(step)
        try:
            return super().forward(step)
        except Exception as error:
            raise self._ranks.lost(error) from error
