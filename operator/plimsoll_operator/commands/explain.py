"""`plimsoll explain NAME`: why the plan of an LLMDeployment in a cluster is what it is.

Exit codes: 0 explained, 1 the cluster cannot be asked, 2 there is nothing to explain.
"""

import argparse
import asyncio
import sys
from importlib.metadata import version

from plimsoll_operator.cluster import Cluster, ClusterError
from plimsoll_operator.kinds import RESOURCE, REVISION
from plimsoll_operator.planning.record import RecordError
from plimsoll_operator.planning.revision_report import KeptPlan, kept_plans, revision_report
from plimsoll_operator.resource import Resource, parse_resource

DONE, NO_CLUSTER, NOTHING = 0, 1, 2
_EXAMPLES = """\
examples:
  plimsoll explain chat -n ml
  kubectl plimsoll explain chat
  kubectl plimsoll explain chat --revision 3

exit code: 0 explained, 1 the cluster cannot be asked, 2 there is nothing to explain
"""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        resource, history = asyncio.run(_read(options.namespace, options.name))
        chosen = _chosen(resource, history, options.revision)
        print(revision_report(resource, history, chosen, version("plimsoll")), end="")
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
    parser.add_argument("name", metavar="NAME", help="the LLMDeployment")
    parser.add_argument(
        "-n", "--namespace", help="where it is; that of the kubeconfig's context if absent"
    )
    parser.add_argument(
        "--revision", type=int, metavar="NUMBER", help="an earlier plan; the one in force if absent"
    )
    return parser


async def _read(namespace: str | None, name: str) -> tuple[Resource, list[KeptPlan]]:
    cluster = Cluster.connect(workers=2)
    try:
        where = namespace or Cluster.default_namespace()
        raw = await cluster.get(RESOURCE, where, name)
        if raw is None:
            raise RecordError(f"there is no LLMDeployment {name} in namespace {where}: give -n")
        items, _ = await cluster.list(REVISION, where)
    finally:
        cluster.close()
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
    for kept in history:
        if kept.number == number:
            return kept
    known = ", ".join(str(kept.number) for kept in history) or "none"
    raise RecordError(f"{resource.name} has no revision {number}; there are: {known}")
