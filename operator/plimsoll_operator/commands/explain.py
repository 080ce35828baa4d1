"""`plimsoll explain NAME`: why the plan of an LLMDeployment in a cluster is what it is, and why its
replicas were scaled.

Exit codes: 0 explained, 1 the cluster cannot be asked, 2 there is nothing to explain.
"""

import argparse
import asyncio
import sys
from importlib.metadata import version

from plimsoll_operator.commands.named_resource import (
    add_resource_arguments,
    cluster_of,
    read_resource,
)
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.kube.kinds import REVISION
from plimsoll_operator.reports.revision_report import revision_report
from plimsoll_operator.reports.scaling_report import scaling_report
from plimsoll_operator.resource import Resource, parse_resource
from plimsoll_operator.revisions.kept_plan import KeptPlan, kept_plans
from plimsoll_operator.revisions.record import RecordError

DONE, NO_CLUSTER, NOTHING = 0, 1, 2
_EXAMPLES = """\
examples:
  plimsoll explain chat -n ml
  kubectl plimsoll explain chat
  kubectl plimsoll explain chat --revision 3
  kubectl plimsoll explain chat --since 1

exit code: 0 explained, 1 the cluster cannot be asked, 2 there is nothing to explain
"""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        resource, history = asyncio.run(_read(options))
        chosen = _chosen(resource, history, options.revision)
        before = _before(resource, history, chosen, options.since)
        print(revision_report(resource, chosen, before, version("plimsoll")), end="")
        if options.revision is None and (scaling := scaling_report(resource)):
            print("\n" + scaling, end="")
    except ClusterError as error:
        print(f"plimsoll explain: {error}", file=sys.stderr)
        return NO_CLUSTER
    except RecordError as error:
        print(f"plimsoll explain: {error}", file=sys.stderr)
        return NOTHING
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plimsoll explain",
        description="Say why the plan of an LLMDeployment is what it is, and how it fits.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_resource_arguments(parser)
    parser.add_argument(
        "--revision", type=int, metavar="NUMBER", help="an earlier plan; the one in force if absent"
    )
    parser.add_argument(
        "--since",
        type=int,
        metavar="NUMBER",
        help="the plan to tell the changes from; the one before if absent",
    )
    return parser


async def _read(options: argparse.Namespace) -> tuple[Resource, list[KeptPlan]]:
    async with cluster_of(options) as (cluster, where):
        raw = await read_resource(cluster, where, options.name)
        items, _ = await cluster.list(REVISION, where)
    resource = parse_resource(raw)
    return resource, kept_plans(items, resource)


def _chosen(resource: Resource, history: list[KeptPlan], number: int | None) -> KeptPlan:
    if number is None:
        found = [kept for kept in history if kept.name == resource.status.current_revision]
        if found:
            return found[0]
        why = "; ".join(
            f"{item.type} {item.status}: {item.message}" for item in resource.status.conditions
        )
        raise RecordError(
            f"{resource.name} has no plan in force that is kept; {why or 'no status'}"
        )
    return _numbered(resource, history, number)


def _before(
    resource: Resource, history: list[KeptPlan], chosen: KeptPlan, number: int | None
) -> KeptPlan | None:
    if number is not None:
        return _numbered(resource, history, number)
    earlier = [kept for kept in history if kept.number < chosen.number]
    return earlier[-1] if earlier else None


def _numbered(resource: Resource, history: list[KeptPlan], number: int) -> KeptPlan:
    for kept in history:
        if kept.number == number:
            return kept
    known = ", ".join(str(kept.number) for kept in history) or "none"
    raise RecordError(f"{resource.name} has no revision {number}; there are: {known}")
