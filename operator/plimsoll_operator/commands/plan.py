"""`plimsoll plan`: what resources need and whether their promise can hold, without a cluster."""

import argparse
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from plimsoll_operator.commands.inputs import (
    InputError,
    check_stdin,
    read_bundle,
    read_nodes,
    read_planned,
)
from plimsoll_operator.planning import checks
from plimsoll_operator.planning.bundle import BundleError
from plimsoll_operator.planning.checks import (
    EXIT_CODES,
    MEANING,
    OF_A_CHANGE,
    checks_of,
    exit_code,
)
from plimsoll_operator.planning.comparison import Change, compare, costs_more
from plimsoll_operator.planning.offline import Planned
from plimsoll_operator.reports.comparison_report import change_as_document, changes_as_text
from plimsoll_operator.reports.explanation import explanation
from plimsoll_operator.reports.export import as_document
from plimsoll_operator.reports.plan_report import Report
from plimsoll_operator.reports.together import together
from plimsoll_planner.search.trial import REQUESTS

MOST_REQUESTS = 100_000
FAULT, BAD_INPUT, INTERRUPTED = 1, 2, 130
DEBUG = "PLIMSOLL_DEBUG"
_EXAMPLES = """\
examples:
  plimsoll plan -f chat.yaml --inventory inventory.yaml
  kubectl get nodes -o yaml | plimsoll plan -f chat.yaml --inventory -
  kustomize build overlays/prod | plimsoll plan -f - --inventory nodes.yaml
  plimsoll plan --diff before.yaml after.yaml --inventory nodes.yaml
  kubectl get llm -A -o yaml | plimsoll plan --diff - deploy/ --inventory nodes.yaml

exit code, of the first that --fail-on names:
"""
_CODES = "".join(
    f"  {code}  {text}\n"
    for code, text in (
        (0, "every promise can hold"),
        (BAD_INPUT, "the input is not valid"),
        *((EXIT_CODES[check], f"{check}: {text}") for check, text in MEANING.items()),
    )
)


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code; 1 for what should never happen."""
    options = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        text, code = _run(options)
    except (InputError, BundleError) as error:
        for line in str(error).splitlines():
            print(f"plimsoll plan: {line}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        kind = type(error).__name__
        print(
            f"plimsoll plan: a fault of Plimsoll's own, {kind}: {error}; please report it with "
            f"what {DEBUG}=1 in the environment prints",
            file=sys.stderr,
        )
        return FAULT
    return _print(text, code)


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(
        prog="plimsoll plan",
        description="Say what LLMDeployments need and whether their SLO can hold.",
        epilog=_EXAMPLES + _CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = result.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "-f",
        "--filename",
        action="extend",
        nargs="+",
        metavar="FILE",
        help="files, folders, or - for stdin: LLMDeployments, with the Accelerators and ConfigMaps "
        "that they need; other kinds are skipped",
    )
    what.add_argument(
        "--diff",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="what changes from one file or folder to another; where OLD has status.plan, as "
        "`kubectl get llm -o yaml` prints it, that is the old plan",
    )
    result.add_argument(
        "--inventory",
        required=True,
        metavar="FILE",
        help="nodes as `kubectl get nodes -o yaml` prints them, or a list of "
        "{accelerator, count, nodes}; - for stdin",
    )
    result.add_argument(
        "--model-config",
        type=Path,
        metavar="DIR",
        help="folder with the model's config.json, instead of reading it from spec.model.source",
    )
    result.add_argument(
        "--requests",
        type=_requests,
        default=REQUESTS,
        metavar="N",
        help="how many are simulated for each plan that may win, and each way out; 0 leaves it at "
        f"closed formulas, which take an instant and err near the limit (default: {REQUESTS})",
    )
    result.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
    result.add_argument(
        "--explain",
        action="store_true",
        help="also say what each plan was made from, and why each candidate lost",
    )
    result.add_argument(
        "--fail-on",
        type=_checks,
        default=checks.DEFAULT,
        metavar="CHECKS",
        help="what makes the exit code differ from 0: none, or some of "
        f"{', '.join(MEANING)}, with commas (slo,cost)",
    )
    return result


def _requests(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MOST_REQUESTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 to {MOST_REQUESTS}")
    return int(text)


def _checks(text: str) -> tuple[checks.Check, ...]:
    try:
        return checks_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(options: argparse.Namespace) -> tuple[str, int]:
    if options.diff is None:
        return _run_plans(options)
    if options.explain:
        raise InputError("--explain is of plans, not of a --diff: explain OLD and NEW with -f")
    check_stdin(*options.diff, options.inventory)
    inventory = read_nodes(options.inventory)
    old, new = (read_bundle([source], may_be_empty=True) for source in options.diff)
    changes = compare(old, new, inventory, options.model_config, options.requests)
    failed = {check for change in changes for check in change.failed}
    if costs_more(changes):
        failed.add(checks.Check.COST_INCREASE)
    return _changes(changes, options.output), exit_code(failed, options.fail_on)


def _run_plans(options: argparse.Namespace) -> tuple[str, int]:
    if of_a_change := OF_A_CHANGE & set(options.fail_on):
        raise InputError(f"--fail-on {','.join(sorted(of_a_change))}: give --diff OLD NEW")
    planned = read_planned(
        options.filename, options.inventory, options.model_config, options.requests
    )
    failed = checks.failed_promises(item.result for item in planned)
    return _plans(planned, options), exit_code(failed, options.fail_on)


def _plans(planned: list[Planned], options: argparse.Namespace) -> str:
    if options.output != "table":
        documents = [as_document(item, explained=options.explain) for item in planned]
        return _dump(documents, options.output)
    blocks = [Report.of(item).table() for item in planned]
    if options.explain:
        blocks = [
            "\n".join([block, *explanation(item)])
            for block, item in zip(blocks, planned, strict=True)
        ]
    if len(planned) > 1:
        blocks.append("\n".join(together(planned)))
    return "\n\n".join(blocks) + "\n"


def _changes(changes: list[Change], output: str) -> str:
    if output == "table":
        return changes_as_text(changes)
    documents = [change_as_document(change) for change in changes]
    return _dump(documents, output)


def _dump(documents: Any, output: str) -> str:
    if output == "yaml":
        text: str = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
        return text
    content: Any = documents[0] if len(documents) == 1 else documents
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _print(text: str, code: int) -> int:
    """Prints, also into a pipe whose reader has gone, as with `| head`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer must not be written when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
