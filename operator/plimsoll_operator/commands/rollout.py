"""`plimsoll rollout history|undo|pause|resume|restart NAME`: rollouts of an LLMDeployment.

Exit codes: 0 done, 1 the cluster cannot be asked or refuses, 2 there is nothing to do it with.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

from plimsoll_operator.commands.named_resource import (
    add_resource_arguments,
    cluster_of,
    read_resource,
)
from plimsoll_operator.kube.api_server import Cluster, ClusterError
from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from plimsoll_operator.planning.comparison import differences, spec_fields
from plimsoll_operator.reports.comparison_report import rows_of
from plimsoll_operator.reports.rollout_history import history_report
from plimsoll_operator.resource import parse_resource
from plimsoll_operator.revisions.gitops import managed_by
from plimsoll_operator.revisions.kept_plan import kept_plans
from plimsoll_operator.revisions.record import RecordError, spec_of
from plimsoll_operator.revisions.undo import earlier_spec, merge_patch, undo_target

DONE, NO_CLUSTER, NOTHING = 0, 1, 2
ATTEMPTS = 5
RESTARTED = "kubectl.kubernetes.io/restartedAt"
"""What `kubectl rollout restart` writes into Deployments, too."""
_EXAMPLES = """\
examples:
  kubectl plimsoll rollout history chat -n ml
  kubectl plimsoll rollout undo chat --dry-run
  kubectl plimsoll rollout undo chat --to-revision 3
  kubectl plimsoll rollout pause chat
  kubectl plimsoll rollout resume chat
  kubectl plimsoll rollout restart chat       # takes the engine image of an upgraded operator

exit code: 0 done, 1 the cluster cannot be asked or refuses, 2 there is nothing to do it with
"""
Raw = dict[str, Any]


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        print(asyncio.run(_run(options)), end="")
    except ClusterError as error:
        print(f"plimsoll rollout: {error}", file=sys.stderr)
        return NO_CLUSTER
    except RecordError as error:
        print(f"plimsoll rollout: {error}", file=sys.stderr)
        return NOTHING
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plimsoll rollout",
        description="See, undo, pause, resume and begin rollouts of an LLMDeployment.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, said in (
        ("history", "list its revisions, and what each changed"),
        ("undo", "write an earlier revision's spec into it"),
        ("pause", "leave running pods as they are, whatever is edited"),
        ("resume", "roll out what waits"),
        ("restart", "replace its pods one by one, by the engine image of today's operator"),
    ):
        action = actions.add_parser(name, help=said, description=said, allow_abbrev=False)
        add_resource_arguments(action)
        if name == "undo":
            action.add_argument(
                "--to-revision",
                type=int,
                metavar="NUMBER",
                help="if absent, the one that serves after a rollback, else the one before",
            )
            action.add_argument(
                "--dry-run",
                action="store_true",
                help="let the API server judge it, show what would change, and change nothing",
            )
    return parser


async def _run(options: argparse.Namespace) -> str:
    async with cluster_of(options) as (cluster, where):
        raw = await read_resource(cluster, where, options.name)
        if options.action == "history":
            items, _ = await cluster.list(REVISION, where)
            resource = parse_resource(raw)
            return history_report(resource, kept_plans(items, resource))
        _warn(raw)
        if options.action == "undo":
            items, _ = await cluster.list(REVISION, where)
            return await _undo(cluster, raw, items, options)
        if options.action == "restart":
            return await _restart(cluster, raw)
        return await _pause(cluster, raw, paused=options.action == "pause")


def _warn(raw: Raw) -> None:
    manager = managed_by(raw)
    if manager is not None:
        print(
            f"warning: {manager} applies {raw['metadata']['name']} from a repository and may put "
            "back what stands there: change it there too",
            file=sys.stderr,
        )


async def _undo(cluster: Cluster, raw: Raw, items: list[Raw], options: argparse.Namespace) -> str:
    resource = parse_resource(raw)
    target = undo_target(resource, kept_plans(items, resource), options.to_revision)
    title = f"{resource.namespace}/{resource.name}"
    patch = merge_patch(raw["spec"], earlier_spec(raw["spec"], spec_of(target.inputs)))
    if not patch:
        return f"{title}: its spec is that of revision {target.number} already\n"
    written = await _edit(cluster, raw, {"spec": patch}, dry_run=options.dry_run)
    after = parse_resource(written)
    if resource.spec is None or after.spec is None:
        changed = ["  its spec could not be read before", ""]
    else:
        if resource.spec.authentication is not None and after.spec.authentication is None:
            print("warning: clients need no API key by that revision", file=sys.stderr)
        if resource.spec.tls is not None and after.spec.tls is None:
            print("warning: clients are served without TLS by that revision", file=sys.stderr)
        changed = rows_of("spec", list(differences(*map(spec_fields, (resource.spec, after.spec)))))
    head = f"{title}: back to revision {target.number}, {target.name}, plan {target.plan.summary}"
    done = (
        "dry run: nothing was changed"
        if options.dry_run
        else f"done, as generation {after.generation}"
    )
    return "\n".join((head, "", *changed, done)) + "\n"


async def _pause(cluster: Cluster, raw: Raw, *, paused: bool) -> str:
    title = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
    state = "paused" if paused else "not paused"
    rollout = raw["spec"].get("rollout") or {}
    if bool(rollout.get("paused", False)) == paused:
        return f"{title}: rollouts are {state} already\n"
    # Of a field that is absent the default is not to pause, and it belongs to nobody.
    await _edit(cluster, raw, {"spec": {"rollout": {"paused": True if paused else None}}})
    return f"{title}: rollouts are {state}\n"


async def _restart(cluster: Cluster, raw: Raw) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    edit = {"template": {"metadata": {"annotations": {RESTARTED: when}}}}
    written = await _edit(cluster, raw, {"spec": edit})
    title = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
    return f"{title}: restarts, as generation {written['metadata']['generation']}\n"


async def _edit(cluster: Cluster, raw: Raw, patch: Raw, *, dry_run: bool = False) -> Raw:
    """Changes `raw` unless somebody has edited it meanwhile; its status may change. Raises
    ClusterError."""
    metadata = raw["metadata"]
    for _ in range(ATTEMPTS):
        try:
            return await cluster.edit(RESOURCE, raw, patch, dry_run=dry_run)
        except ClusterError as error:
            if error.status != 409:
                raise
            refused = error
        raw = await read_resource(cluster, metadata["namespace"], metadata["name"])
        if raw["metadata"]["generation"] != metadata["generation"]:
            break
    raise ClusterError(
        refused.status, refused.reason, f"{metadata['name']} was edited meanwhile: look again"
    )
