"""Writes `docs/plans.md`: published models on common accelerators, planned for the same traffic.

Run from the repository's root: `PYTHONPATH=operator:runtime:. python -m docs.plots.plans`. Takes
about a minute, most of it for the nearest ways out of plans that are infeasible.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from plimsoll_planner.accelerators import find
from plimsoll_planner.inputs import AcceleratorPool, Lengths, Objectives, PlanRequest, Workload
from plimsoll_planner.performance.memory import GPU_UTILISATION
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult
from tests.unit.plimsoll_planner.published import NAMES, facts

PAGE = Path(__file__).parents[1] / "plans.md"
TEMPLATE = Path(__file__).with_name("plans.md.template")
AGAIN = "PYTHONPATH=operator:runtime:. python -m docs.plots.plans"

ACCELERATORS = {
    "T4": "Tesla-T4",
    "A10G": "NVIDIA-A10G",
    "L4": "NVIDIA-L4",
    "L40S": "NVIDIA-L40S",
    "RTX 4090": "NVIDIA-GeForce-RTX-4090",
    "A100 80G": "NVIDIA-A100-SXM4-80GB",
    "H100": "NVIDIA-H100-80GB-HBM3",
    "H200": "NVIDIA-H200",
    "B200": "NVIDIA-B200",
    "MI300X": "AMD_Instinct_MI300X_OAM",
}
WORKLOAD = Workload(4.0, prompt_tokens=Lengths(500, 1500), output_tokens=Lengths(200, 500))
OBJECTIVES = Objectives(ttft_p95=1.0, tpot_p95=0.05)
CONTEXT, PER_NODE, NODES = 8192, 8, 1000
"""Longest sequence in tokens, accelerators of a node, and nodes: more than any plan needs."""


@dataclass(frozen=True)
class Cell:
    """What the planner says of a model on an accelerator."""

    model: str
    accelerator: str
    result: PlanResult

    @property
    def tpot(self) -> float:
        """Predicted 95th percentile in seconds."""
        return self.result.plan.predicted.tpot_p95 if self.result.plan else math.inf

    @property
    def least_tpot(self) -> float:
        """Seconds in which the replica's memory is read once for what a single token needs, at
        most as much as the layers have in the weights' format."""
        found, known = self.result.plan, find(ACCELERATORS[self.accelerator])
        if found is None or known is None:
            return math.inf
        of = facts(self.model)
        form = of.format(found.weights_precision)
        read = form.bits * (of.linear_parameters + of.active_expert_parameters)
        read += form.other_bits * of.head_parameters
        return read / 8 / (found.tensor_parallel_size * known.bandwidth)

    def __str__(self) -> str:
        """`2×3 41 ms`: three replicas of two accelerators each and their TPOT, `2·4×3 41 ms`
        where each is on two nodes; or why not."""
        found = self.result.plan
        if found is None:
            return "too large"
        if self.result.feasible:
            stages = found.pipeline_parallel_size
            one = f"{stages}·" if stages > 1 else ""
            one += str(found.tensor_parallel_size)
            return f"{one}×{found.replicas} {self.tpot * 1e3:.0f} ms"
        missed = self.result.binding_constraint.partition(" ")[0]
        return {"timeToFirstToken": "TTFT", "timePerOutputToken": "TPOT"}[missed]


def request(model: str, accelerator: str) -> PlanRequest:
    """The same traffic and promise for each; context and model permitting."""
    return PlanRequest(
        model=facts(model).model,
        workload=WORKLOAD,
        objectives=OBJECTIVES,
        inventory=(AcceleratorPool(ACCELERATORS[accelerator], PER_NODE, NODES),),
        max_context_length=CONTEXT,
        max_replicas=PER_NODE * NODES,
    )


def cell(model: str, accelerator: str) -> Cell:
    """Plans one."""
    return Cell(model, accelerator, plan(request(model, accelerator)))


def row(model: str, cells: Iterable[Cell]) -> str:
    """A model's line of the table."""
    known = facts(model)
    published = f"{known.model.checkpoint.name} {known.weights_bytes('Checkpoint') / 2**30:.0f}"
    size = f"{known.weights_bytes('BF16') / 2**30:.1f}"
    return f"| {' | '.join([model, published, size, *map(str, cells)])} |"


def head() -> Iterable[str]:
    """The table's first lines: what a node of each can use."""
    usable = []
    for name in ACCELERATORS.values():
        known = find(name)
        if known is None:
            raise ValueError(f"the catalogue lacks {name}")
        usable.append(f"{PER_NODE * known.memory_bytes * GPU_UTILISATION / 2**30:.0f}")
    yield f"| model | published | BF16 | {' | '.join(ACCELERATORS)} |"
    yield f"|---|--:|--:|{'--:|' * len(ACCELERATORS)}"
    yield f"| *usable of {PER_NODE}* | GiB | GiB | {' | '.join(usable)} |"


def table(models: Iterable[str]) -> Iterable[str]:
    """Every model on every accelerator, in Markdown."""
    yield from head()
    for model in models:
        yield row(model, [cell(model, name) for name in ACCELERATORS])


def page(lines: Iterable[str]) -> str:
    """The text of docs/plans.md."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(table="\n".join(lines), again=AGAIN)


def main() -> None:
    """Writes the page."""
    lines = []
    for line in table(NAMES):
        sys.stderr.write(line + "\n")
        lines.append(line)
    PAGE.write_text(page(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
