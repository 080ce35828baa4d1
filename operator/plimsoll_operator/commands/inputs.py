"""What commands read: LLMDeployments and what goes with them, and nodes."""

import sys
from pathlib import Path

from plimsoll_operator.api import KIND
from plimsoll_operator.planning.bundle import Bundle, BundleError, bundle_of
from plimsoll_operator.planning.documents import STDIN, DocumentError, read_documents
from plimsoll_operator.planning.inventory import Inventory
from plimsoll_operator.planning.inventory_file import InventoryError, read_inventory
from plimsoll_operator.planning.offline import Planned, plan_bundle


class InputError(Exception):
    """Bad input; one line for each problem."""


def read_nodes(source: str) -> Inventory:
    """The nodes in a file, or on stdin for `-`. Raises InputError."""
    try:
        return read_inventory(item.content for item in read_documents([source], sys.stdin))
    except InventoryError as error:
        raise InputError(f"{'stdin' if source == STDIN else source}: {error}") from error
    except DocumentError as error:
        raise InputError(str(error)) from error


def read_bundle(sources: list[str], *, may_be_empty: bool = False) -> Bundle:
    """LLMDeployments and what goes with them, of files, folders and stdin. Raises InputError."""
    try:
        bundle = bundle_of(read_documents(sources, sys.stdin))
    except (DocumentError, BundleError) as error:
        raise InputError(str(error)) from error
    if not bundle.deployments and not may_be_empty:
        shown = ", ".join("stdin" if source == STDIN else source for source in sources)
        raise InputError(
            f"{shown}: no {KIND} in it: give the file, or the folder right above it; other kinds "
            "and folders in folders are skipped"
        )
    return bundle


def read_planned(
    sources: list[str], inventory: str, model_directory: Path | None, trial_requests: int
) -> list[Planned]:
    """A plan for each of them on the nodes in `inventory`, as `plan_bundle`. Raises InputError."""
    check_stdin(*sources, inventory)
    nodes = read_nodes(inventory)
    try:
        return plan_bundle(
            read_bundle(sources), nodes, model_directory, trial_requests=trial_requests
        )
    except BundleError as error:
        raise InputError(str(error)) from error


def check_stdin(*sources: str) -> None:
    """Raises InputError where stdin would be read twice."""
    if sources.count(STDIN) > 1:
        raise InputError("only one input can be stdin: give files for the others")
