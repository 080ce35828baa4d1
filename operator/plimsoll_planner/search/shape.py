"""What one replica is made of."""

from dataclasses import dataclass

from plimsoll_planner.accelerators import CPU, Accelerator
from plimsoll_planner.model_facts import INT8, INT8_ON_CPU


@dataclass(frozen=True)
class Shape:
    """The hardware and number formats of one replica; `cpu_cores` is None unless it is `cpu`.

    On `cpu` the ranks of a replica share its cores and the memory of its node.

    `label` is the product as the nodes are labelled, which a catalogue's alias may differ from.
    Pipeline stages are on nodes of their own. With `expert_parallel` the tensor-parallel ranks
    hold whole experts instead of a part of each.
    """

    accelerator: Accelerator
    label: str
    weights: str
    kv_cache: str
    tensor_parallel_size: int = 1
    cpu_cores: float | None = None
    pipeline_parallel_size: int = 1
    expert_parallel: bool = False

    @property
    def is_cpu(self) -> bool:
        return self.accelerator.name == CPU

    @property
    def stored(self) -> str:
        """The weights' format as the engine keeps it, by the names that `ModelFacts` knows."""
        return INT8_ON_CPU if self.is_cpu and self.weights == INT8 else self.weights

    @property
    def accelerators(self) -> float:
        """GPUs, or cores, of one replica: what prices and limits count."""
        if self.cpu_cores is not None:
            return self.cpu_cores
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def ranks_in_memory(self) -> int:
        """Ranks that share one memory: all on `cpu`, one on a GPU."""
        return self.tensor_parallel_size if self.is_cpu else 1

    def __str__(self) -> str:
        name = f"{self.label}×{self.accelerators:g}"
        if self.pipeline_parallel_size > 1:
            name += f" on {self.pipeline_parallel_size} nodes"
        return f"{name} with expert parallelism" if self.expert_parallel else name
