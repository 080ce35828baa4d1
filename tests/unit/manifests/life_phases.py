"""An LLMDeployment in every phase of its life, as reconciling really leaves it."""

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any

from plimsoll_operator.plans.choice import Standing, Trouble
from plimsoll_operator.resource import dump_status, parse_resource
from plimsoll_operator.rollouts.live_limits import LimitsReport
from plimsoll_operator.status.new_status import first_status
from tests.unit.plimsoll_operator.played_rollouts import BAD, GOOD, Rollouts
from tests.unit.plimsoll_operator.samples import (
    FEASIBLE,
    INFEASIBLE,
    NOW,
    Cell,
    cpu_plan,
    in_force,
    raw_resource,
    scaled_to,
)

Raw = dict[str, Any]
MORE = cpu_plan(revision="ffffffffff", max_num_seqs=16)
FEWER = cpu_plan(revision="eeeeeeeeee", max_num_seqs=4)
OTHER = Standing(plan=MORE, inputs="b")
LIVE = Standing(plan=FEWER, inputs="c")


def life_phases() -> dict[str, Raw]:
    """The object by what happens to it."""
    return {name: copy.deepcopy(raw) for name, raw in chain(_course(), _troubles())}


def _serving() -> Cell:
    cell = Cell(raw_resource())
    cell.settle(FEASIBLE)
    return cell


def _course() -> Iterator[tuple[str, Raw]]:
    cell = Cell(raw_resource())
    yield "created", cell.raw
    planning = first_status(parse_resource(cell.raw), NOW)
    yield "planning", {**cell.raw, "status": dump_status(planning)}
    cell.step(FEASIBLE)
    yield "applying", cell.raw
    cell.step(FEASIBLE)
    yield "rolling out", cell.raw
    _fail(cell)
    cell.step(FEASIBLE)
    yield "no pod ready in time", cell.raw
    cell.world.roll_out()
    cell.settle(FEASIBLE)
    yield "serving", cell.raw
    cell.edit(revisionHistoryLimit=3)
    yield "edited, not seen", cell.raw
    cell.step(OTHER)
    yield "edited, applying", cell.raw
    cell.step(OTHER)
    yield "edited, rolling out", cell.raw
    cell.world.roll_out()
    cell.settle(OTHER)
    yield "edited, serving", cell.raw
    cell.edit(pin={"maxNumSeqs": 4})
    yield "limits edited, not seen", cell.raw
    cell.step(LIVE)
    yield "limits edited, being sent", cell.raw
    cell.step(LIVE, limits=LimitsReport(lacking=("HTTP 401 not let in",)))
    yield "limits edited, not taken", cell.raw
    cell.settle(LIVE, limits=in_force(FEWER, MORE))
    yield "limits edited, serving", cell.raw


def _troubles() -> Iterator[tuple[str, Raw]]:
    cell = _serving()
    cell.edit(slo={"timeToFirstToken": {"p95": "1ms"}})
    cell.settle(Standing(feasibility=INFEASIBLE))
    yield "infeasible, the earlier plan serves", cell.raw
    cell = Cell(raw_resource())
    cell.settle(Standing(feasibility=INFEASIBLE))
    yield "infeasible, nothing serves", cell.raw
    cell = Cell(raw_resource(spec={"slo": {"whenInfeasible": "BestEffort"}}))
    cell.settle(Standing(plan=cpu_plan(), inputs="a", feasibility=INFEASIBLE))
    yield "infeasible, serving by best effort", cell.raw
    cell = Cell(raw_resource())
    cell.settle(Standing(trouble=Trouble("ModelConfigUnavailable", "the hub does not answer")))
    yield "no config of the model", cell.raw
    cell = Cell(raw_resource(spec={"model": {"source": "ftp://nowhere"}}))
    cell.settle(Standing(trouble=Trouble("InvalidSpec", "no such source")))
    yield "invalid", cell.raw

    rig = Rollouts()
    rig.serve()
    rig.cell.edit(model=BAD)
    rig.fail()
    yield "rolled back", rig.cell.raw
    rig.cell.edit(rollout={"paused": True})
    rig.settle()
    yield "paused, an edit waits", rig.cell.raw
    rig.cell.edit(model=GOOD)
    rig.settle()
    yield "paused, nothing waits", rig.cell.raw
    cell = _serving()
    cell.raw["spec"]["scaling"] = {"maxReplicas": 3}
    cell.step(FEASIBLE, scaled_to(3))
    cell.step(FEASIBLE, scaled_to(3))
    yield "serving, one more on the way", cell.raw
    cell = _serving()
    cell.raw["metadata"]["deletionTimestamp"] = NOW
    yield "being deleted", cell.raw
    cell = _serving()
    cell.raw["metadata"]["generation"] += 1
    cell.raw["metadata"]["deletionTimestamp"] = NOW
    yield "edited and deleted", cell.raw


def _fail(cell: Cell) -> None:
    """The Deployment's controller gives up."""
    deployment = cell.world.children["Deployment", "chat"]
    deployment["status"] = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": 1,
        "updatedReplicas": 1,
        "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
    }
