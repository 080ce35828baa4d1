"""`plimsoll COMMAND`: finds the command by entry point, so that each loads only what it needs."""

import os
import select
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

GROUP = "plimsoll.commands"
EXTRA = {"serve": "runtime", "download": "runtime", "bench": "bench"}
SUMMARY = {
    "plan": "say what an LLMDeployment needs and whether its SLO can hold, without a cluster",
    "explain": "say why the plan of an LLMDeployment in a cluster is what it is",
    "rollout": "list, undo, pause and resume rollouts of an LLMDeployment in a cluster",
    "simulate": "send traffic, or a trace, through the engine's scheduler on a plan's replicas",
    "trace": "turn access logs and metrics into a trace or a workload",
    "bench": "drive an OpenAI-compatible server, and compare what was measured",
    "calibrate": "fit an accelerator's efficiencies to steps that an engine measured",
    "download": "bring a model of the Hugging Face Hub into a folder, verified",
    "serve": "serve a model over an OpenAI-compatible API",
    "operator": "run the operator (inside the cluster)",
    "crd": "print the CustomResourceDefinition",
}


def usage(commands: dict[str, EntryPoint]) -> str:
    """The help text, one line a command."""
    lines = [f"  {name:<10}{SUMMARY.get(name, '')}".rstrip() for name in sorted(commands)]
    return "usage: plimsoll COMMAND [OPTION ...]\n\n" + "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Runs the command named first; 2 when there is none of that name or its extra is missing."""
    arguments = sys.argv[1:] if argv is None else argv
    commands = {point.name: point for point in entry_points(group=GROUP)}
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(commands), end="")
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in commands:
        print(f"plimsoll: no such command: {name}\n\n{usage(commands)}", end="", file=sys.stderr)
        return 2
    try:
        command = cast("Callable[[list[str]], int]", commands[name].load())
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("plimsoll"):
            raise
        extra = EXTRA.get(name, "operator")
        print(
            f"plimsoll {name}: the Python module {error.name} is missing: "
            f"pip install 'plimsoll[{extra}]'",
            file=sys.stderr,
        )
        return 2
    try:
        code = command(rest)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        return 0
    return code


def _reader_has_gone() -> bool:
    """Whether what is printed goes into a pipe that nobody reads any more, as with `| head`."""
    output = sys.stdout.fileno()
    poller = select.poll()
    poller.register(output, 0)  # of errors it tells always
    if not poller.poll(0):
        return False
    # What is left in the buffer must not be written when Python exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


if __name__ == "__main__":
    sys.exit(main())
