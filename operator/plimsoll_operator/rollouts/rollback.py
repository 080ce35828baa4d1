"""When a rollout has failed, and that the revision which served last is in force instead.

Pure, from status, children and pods alone. The decision is written into the status before anything
is done about it, and holds for the spec that failed: there is one rollback a spec, whatever crashes
in between, and nothing is tried again until somebody edits it.
"""

from plimsoll_operator.api.status import RollbackStatus, ServedStatus
from plimsoll_operator.observed import Rollout, owned_by, rollout_of
from plimsoll_operator.render.revision import KIND as REVISION
from plimsoll_operator.resource import Resource
from plimsoll_operator.status.inputs import Situation
from plimsoll_operator.status.pod_trouble import crash_loops
from plimsoll_operator.status.readiness import lacking, way_to_room

MAX_MESSAGE = 600


def in_force(resource: Resource) -> tuple[RollbackStatus, ServedStatus] | None:
    """The rollback that holds for this very spec, and what it went back to; None without one."""
    status = resource.status
    if resource.spec is None or status.rollback is None or status.served is None:
        return None
    if status.rollback.spec_hash != resource.edited:
        return None
    return status.rollback, status.served


def failed(situation: Situation, progress: Rollout, served: ServedStatus) -> bool:
    """Whether pods by the Deployment as it was applied last will not come to serve.

    `served` is what served before: pods of the same plan are not told from its own.
    """
    if situation.pending or not progress.current:
        return False
    if progress.deadline_exceeded:
        return True
    if served.started_plan == situation.started or not progress.updated:
        return False
    return crash_loops(situation.pods, situation.started)


def decide(resource: Resource, situation: Situation) -> RollbackStatus | None:
    """The rollback to begin now; None where the rollout has not failed or there is none."""
    standing, spec, served = situation.standing, resource.spec, resource.status.served
    name = standing.revision(resource.name)
    if spec is None or served is None or situation.trouble is not None:
        return None
    if standing.plan is None or standing.hold is not None or spec.rollout.paused:
        return None
    # What has served once is no failed rollout, whatever becomes of its pods.
    if name != resource.status.current_revision or name in (None, served.revision):
        return None
    kept = situation.observed.children.get((REVISION, served.revision))
    if kept is None or not owned_by(kept, resource.uid):
        return None
    progress = rollout_of(situation.observed, resource.name, resource.uid)
    if not failed(situation, progress, served):
        return None
    deadline = "the progress deadline" if progress.deadline_exceeded else "five starts"
    trouble = lacking(situation, progress)
    why = "no replica became ready" if trouble is None else trouble.message
    why += way_to_room(resource, situation, progress)
    return RollbackStatus(
        generation=resource.generation,
        spec_hash=resource.edited,
        failed_revision=str(name),
        message=f"{standing.plan.summary} did not serve within {deadline}: {why}"[:MAX_MESSAGE],
    )
