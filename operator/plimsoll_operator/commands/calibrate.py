"""`plimsoll calibrate`: fits an accelerator's efficiencies to the steps that an engine measured.

Prints the fit as comments and the Accelerator resource that plans use it by. Exit codes: 0 done,
1 no trustworthy fit, 2 bad input.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from plimsoll_operator.calibration.resource import (
    Origin,
    accelerator_resource,
    frontend_summary,
    summary,
)
from plimsoll_operator.calibration.steps import StepsError, Told, poll, read_file
from plimsoll_operator.planning.model_source import (
    ModelSourceError,
    read_model_config,
    read_model_directory,
)
from plimsoll_planner.accelerators import CPU, find
from plimsoll_planner.calibration.fit import CalibrationError, calibrate, prior_values
from plimsoll_planner.calibration.frontend_fit import FrontendFit, measured
from plimsoll_planner.calibration.frontend_work import stretches
from plimsoll_planner.model_facts import BYTES, ModelFacts, model_facts
from plimsoll_planner.models.formats import FORMATS
from plimsoll_planner.search.shape import Shape

DONE, NO_FIT, BAD_INPUT = 0, 1, 2
_EXAMPLES = """\
examples:
  kubectl port-forward pod/chat-abc 9090 &
  plimsoll calibrate --url http://127.0.0.1:9090 --seconds 60 \\
    --model hf://Qwen/Qwen3-8B --accelerator NVIDIA-L40S | kubectl apply -f -
  plimsoll calibrate --steps steps.json --model builtin://tiny --accelerator cpu --cores 2

exit code: 0 done, 1 the steps give no trustworthy fit, 2 the input is not valid
"""


class InputError(Exception):
    """Bad input."""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        facts, shape = _facts(options), _shape(options)
        told = poll(options.url, options.seconds) if options.url else read_file(options.steps)
        found = calibrate(facts, shape, told.samples)
    except (InputError, StepsError, ModelSourceError, CalibrationError) as error:
        print(f"plimsoll calibrate: {error}", file=sys.stderr)
        return NO_FIT if isinstance(error, CalibrationError) else BAD_INPUT
    frontend = _frontend(told)
    model = options.model or str(options.model_config)
    resource = accelerator_resource(
        found,
        facts,
        shape,
        options.name or shape.accelerator.name.lower(),
        Origin(model, options.engine, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        None if isinstance(frontend, str) else frontend,
    )
    lines = [f"{model} on {shape}", *summary(found, prior_values(facts, shape))]
    # An engine that tells nothing of it was answered as it always was.
    lines += frontend_summary(frontend) if told.looks else []
    for line in lines:
        print(f"# {line}".rstrip())
    print(yaml.safe_dump(resource, sort_keys=False), end="")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plimsoll calibrate",
        description="Fit an accelerator's efficiencies to the steps that an engine measured.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="the engine's admin port, such as http://127.0.0.1:9090")
    source.add_argument(
        "--steps", type=Path, metavar="FILE", help="what GET /admin/steps answered, saved"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="how long to go on reading from --url"
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", metavar="SOURCE", help="the model served, hf:// or builtin://")
    model.add_argument("--model-config", type=Path, metavar="DIR", help="folder with config.json")
    parser.add_argument("--accelerator", required=True, help="the product, or cpu")
    parser.add_argument("--tensor-parallel-size", type=int, default=1, metavar="N")
    parser.add_argument("--cores", type=float, help="CPU cores of the engine, for cpu")
    parser.add_argument(
        "--weights",
        choices=sorted(FORMATS),
        help="number format; the accelerator's first if absent",
    )
    parser.add_argument(
        "--kv-cache",
        choices=sorted(BYTES),
        help="of the KV cache; 16 bits beside quantized weights",
    )
    parser.add_argument("--engine", default="", help="engine and version, to keep with the figures")
    parser.add_argument("--name", help="name of the resource; the product's if absent")
    return parser


def _frontend(told: Told) -> FrontendFit | str:
    """What the server's work gives, or why it gives nothing."""
    try:
        return measured(stretches(told.looks))
    except CalibrationError as error:
        return str(error)


def _facts(options: argparse.Namespace) -> ModelFacts:
    if options.model_config is not None:
        return model_facts(read_model_directory(options.model_config).model)
    return model_facts(read_model_config(options.model).model)


def _shape(options: argparse.Namespace) -> Shape:
    accelerator = find(options.accelerator)
    if accelerator is None:
        raise InputError(
            f"--accelerator {options.accelerator}: not in the catalogue; give its name as the "
            "nodes are labelled, such as NVIDIA-L40S, or cpu"
        )
    if options.tensor_parallel_size < 1:
        raise InputError(
            f"--tensor-parallel-size {options.tensor_parallel_size}: must be 1 or more"
        )
    is_cpu = accelerator.name == CPU
    if is_cpu != (options.cores is not None):
        raise InputError("--cores is how many cores the engine has: give it with --accelerator cpu")
    if options.cores is not None and options.cores <= 0:
        raise InputError(f"--cores {options.cores:g}: must be more than 0")
    weights = options.weights or accelerator.precisions[0]
    wide = weights if weights in BYTES and BYTES[weights] > 1 else "BF16"
    return Shape(
        accelerator,
        accelerator.name,
        weights,
        options.kv_cache or wide,
        options.tensor_parallel_size,
        options.cores,
    )
