"""`plimsoll crd`: prints the CustomResourceDefinition, or checks a file against it."""

import argparse
import sys
from pathlib import Path

from plimsoll_operator.api.schema import custom_resource_definition_yaml


def main(argv: list[str]) -> int:
    """0; 1 when the file given with --check differs."""
    parser = argparse.ArgumentParser(prog="plimsoll crd", description=__doc__)
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare with FILE, change none")
    arguments = parser.parse_args(argv)
    text = custom_resource_definition_yaml()
    if arguments.check is None:
        print(text, end="")
        return 0
    if arguments.check.is_file() and arguments.check.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{arguments.check}: differs from the types: run `plimsoll crd > {arguments.check}`",
        file=sys.stderr,
    )
    return 1
