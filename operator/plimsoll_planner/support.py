"""What the engine can run: the planner sizes more than that."""

from dataclasses import dataclass
from enum import Enum

from plimsoll_planner.accelerators import CPU


class Lack(Enum):
    """What the engine would need for a plan and does not have, the first that counts."""

    HARDWARE = "the engine does not run on it"
    WEIGHTS = "the engine does not run weights of that format"
    KV_CACHE = "the engine keeps its KV cache in the format of the weights"
    TENSOR_PARALLEL = "the engine does not run on so many accelerators"
    PIPELINE_PARALLEL = "the engine has no pipeline parallelism"
    EXPERT_PARALLEL = "the engine has no expert parallelism"


@dataclass(frozen=True)
class Needs:
    """What a replica asks of the engine. `resource` is what its pods get accelerators by."""

    resource: str
    weights: str
    kv_cache: str
    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    expert_parallel: bool = False


@dataclass(frozen=True)
class EngineSupport:
    """`resources` are prefixes of what its pods can ask for; `weights` the formats it loads, with
    the KV cache in the same one, or on `cpu` in one of `kv_cache`. On `cpu` it also makes weights
    `quantized`, and has the KV cache in BF16 beside them."""

    resources: tuple[str, ...]
    weights: tuple[str, ...]
    max_tensor_parallel_size: int
    kv_cache: tuple[str, ...] = ()
    quantized: tuple[str, ...] = ()

    def runs_on(self, resource: str) -> bool:
        """Whether it runs on accelerators that pods get by that name."""
        return resource.startswith(self.resources)

    def lack(self, needs: Needs) -> Lack | None:
        """What stands in the way of such a replica; None where nothing does."""
        for lack, missing in (
            (Lack.HARDWARE, not self.runs_on(needs.resource)),
            (Lack.WEIGHTS, not (needs.weights in self.weights or self._quantizes(needs))),
            (Lack.KV_CACHE, not self._keeps(needs)),
            (Lack.TENSOR_PARALLEL, needs.tensor_parallel_size > self.max_tensor_parallel_size),
            (Lack.PIPELINE_PARALLEL, needs.pipeline_parallel_size > 1),
            (Lack.EXPERT_PARALLEL, needs.expert_parallel),
        ):
            if missing:
                return lack
        return None

    def _quantizes(self, needs: Needs) -> bool:
        return needs.resource == CPU and needs.weights in self.quantized

    def _keeps(self, needs: Needs) -> bool:
        if needs.resource == CPU and needs.kv_cache in self.kv_cache:
            return True
        return needs.kv_cache == ("BF16" if self._quantizes(needs) else needs.weights)
