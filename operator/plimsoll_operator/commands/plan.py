"""`plimsoll plan`: what a resource needs and whether its promise can hold, without a cluster.

Exit codes: 0 feasible, 3 infeasible, 2 bad input.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from plimsoll_operator.api import ACCELERATOR_KIND, API_VERSION, KIND
from plimsoll_operator.api.spec import LLMDeploymentSpec
from plimsoll_operator.api.validate import InvalidSpecError, parse_document
from plimsoll_operator.planning.accelerators import overrides, verdicts
from plimsoll_operator.planning.inventory_file import InventoryError, read_inventory
from plimsoll_operator.planning.model_source import (
    ModelSourceError,
    SourceModel,
    parse_config,
    read_model_config,
    read_model_directory,
)
from plimsoll_operator.planning.report import Report
from plimsoll_operator.planning.request import plan_request
from plimsoll_operator.planning.status import plan_status
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.planner import plan
from plimsoll_planner.result import Candidate

FEASIBLE, BAD_INPUT, INFEASIBLE = 0, 2, 3
_EXAMPLES = """\
examples:
  plimsoll plan -f chat.yaml --inventory inventory.yaml
  kubectl get nodes -o yaml | plimsoll plan -f chat.yaml --inventory -
  plimsoll plan -f chat.yaml --inventory inventory.yaml -o json | jq .bindingConstraint

exit code: 0 every promise can hold, 3 one cannot, 2 the input is not valid
"""


class InputError(Exception):
    """Bad input; one line for each problem."""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        reports = _reports(options)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"plimsoll plan: {line}", file=sys.stderr)
        return BAD_INPUT
    _print(reports, options.output)
    feasible = all(report.result.feasible for report in reports)
    return FEASIBLE if feasible else INFEASIBLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plimsoll plan",
        description="Say what LLMDeployments need and whether their SLO can hold.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-f",
        "--filename",
        required=True,
        metavar="FILE",
        help="LLMDeployments, with Accelerators and ConfigMaps that they need; - for stdin",
    )
    parser.add_argument(
        "--inventory",
        required=True,
        metavar="FILE",
        help="nodes as `kubectl get nodes -o yaml` prints them, or a list of "
        "{accelerator, count, nodes}; - for stdin",
    )
    parser.add_argument(
        "--model-config",
        type=Path,
        metavar="DIR",
        help="folder with the model's config.json, instead of reading it from spec.model.source",
    )
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
    return parser


def _reports(options: argparse.Namespace) -> list[Report]:
    if options.filename == "-" and options.inventory == "-":
        raise InputError("-f and --inventory cannot both be stdin: give a file for one of them")
    try:
        inventory = read_inventory(_documents(options.inventory))
    except InventoryError as error:
        raise InputError(f"{_shown(options.inventory)}: {error}") from error
    documents = _documents(options.filename)
    accelerators = _accelerators(documents, _shown(options.filename))
    config_maps = _config_maps(documents)
    wanted = [item for item in documents if not _is_other_kind(item)]
    if not wanted:
        raise InputError(f"{_shown(options.filename)}: holds no {KIND}")
    reports: list[Report] = []
    problems: list[str] = []
    for number, document in enumerate(wanted, start=1):
        where = _shown(options.filename) + (f" (document {number})" if len(wanted) > 1 else "")
        try:
            name, spec = parse_document(document)
            found = _model(spec, options.model_config, config_maps)
            request = plan_request(spec, found.model, inventory, accelerators)
            reports.append(Report(name, spec.model.source, request, plan(request), found.unserved))
        except InvalidSpecError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
        except ModelSourceError as error:
            problems.append(f"{where}: spec.model.source: {error}")
    if problems:
        raise InputError("\n".join(problems))
    return reports


def _model(
    spec: LLMDeploymentSpec, directory: Path | None, config_maps: Mapping[str, Mapping[str, Any]]
) -> SourceModel:
    if directory is not None:
        return read_model_directory(directory)
    if spec.model.config_from is None:
        return read_model_config(spec.model.source, spec.model.revision)
    reference = spec.model.config_from.config_map_key_ref
    text = config_maps.get(reference.name, {}).get(reference.key)
    if not isinstance(text, str):
        raise ModelSourceError(
            f"the ConfigMap {reference.name} with the key {reference.key} is not among the "
            "documents given: add it to the file, or give --model-config DIR"
        )
    return parse_config(text, f"ConfigMap {reference.name}")


def _documents(filename: str) -> list[Any]:
    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
        parsed = [item for item in yaml.safe_load_all(text) if item is not None]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{_shown(filename)}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{_shown(filename)}: neither YAML nor JSON: {reason}") from error
    documents: list[Any] = []
    for item in parsed:
        listed = isinstance(item, Mapping) and str(item.get("kind", "")).endswith("List")
        documents += item["items"] if listed and isinstance(item.get("items"), list) else [item]
    return documents


def _shown(filename: str) -> str:
    return "stdin" if filename == "-" else filename


def _is_other_kind(document: Any) -> bool:
    """Whether it is an object of Kubernetes, but none of ours, as files often hold several."""
    return isinstance(document, Mapping) and document.get("kind") not in (None, KIND)


def _accelerators(documents: list[Any], where: str) -> tuple[Accelerator, ...]:
    """What the Accelerators among them say. Raises InputError where one would not be used."""
    ours = [item for item in documents if _is(item, ACCELERATOR_KIND)]
    if not all(_name(item) for item in ours):
        raise InputError(f"{where}: an {ACCELERATOR_KIND} without metadata.name: give it one")
    found = verdicts(ours)
    refused = [verdict for verdict in found if verdict.accelerator is None]
    if refused:
        raise InputError(
            "\n".join(f"{where}: Accelerator {item.name}: {item.message}" for item in refused)
        )
    return overrides(found)


def _is(document: Any, kind: str) -> bool:
    """Whether it is an object of that kind of ours."""
    return (
        isinstance(document, Mapping)
        and document.get("apiVersion") == API_VERSION
        and document.get("kind") == kind
    )


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""


def _config_maps(documents: list[Any]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for document in documents:
        if isinstance(document, Mapping) and document.get("kind") == "ConfigMap":
            metadata, data = document.get("metadata"), document.get("data")
            if isinstance(metadata, Mapping) and isinstance(data, Mapping):
                found[str(metadata.get("name"))] = data
    return found


def _print(reports: list[Report], output: str) -> None:
    if output == "table":
        print("\n\n".join(report.table() for report in reports))
        return
    documents = [as_document(report) for report in reports]
    if output == "yaml":
        print(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True), end="")
        return
    content: Any = documents[0] if len(documents) == 1 else documents
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _parallelism(item: Candidate) -> dict[str, Any]:
    """What most candidates do without."""
    found: dict[str, Any] = {}
    if item.pipeline_parallel_size > 1:
        found["pipelineParallelSize"] = item.pipeline_parallel_size
    if item.expert_parallel:
        found["expertParallel"] = True
    return found


def as_document(report: Report) -> dict[str, Any]:
    """The keys of `status.plan` and the verdict; only the verdict where nothing fits.

    `engineLimit` is there only where the engine cannot run the plan, and says why.
    """
    result = report.result
    status = plan_status(result)
    fields = {} if status is None else status.model_dump(by_alias=True, exclude_none=True)
    limit = report.engine_limit()
    return {
        "name": report.name,
        "feasible": result.feasible,
        **fields,
        **({} if limit is None else {"engineLimit": limit}),
        "bindingConstraint": result.binding_constraint,
        "alternatives": [
            {"change": item.change, "effect": item.effect} for item in result.alternatives
        ],
        "candidates": [
            {
                "accelerator": item.accelerator,
                "tensorParallelSize": item.tensor_parallel_size,
                "weights": item.weights_precision,
                **_parallelism(item),
                "rejectedBecause": item.rejected_because,
            }
            for item in result.candidates
        ],
    }
