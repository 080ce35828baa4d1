"""`plimsoll crd`: prints the CustomResourceDefinitions, or writes or checks a folder of them."""

import argparse
import sys
from pathlib import Path

from plimsoll_operator.api.definitions import DEFINITIONS


def main(argv: list[str]) -> int:
    """0; 1 when a file of the folder given with --check differs."""
    parser = argparse.ArgumentParser(prog="plimsoll crd", description=__doc__)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--check", type=Path, metavar="DIR", help="compare with DIR, change none")
    either.add_argument("--write", type=Path, metavar="DIR", help="write one file each into DIR")
    arguments = parser.parse_args(argv)
    if arguments.check is None and arguments.write is None:
        print("---\n".join(item.text() for item in DEFINITIONS), end="")
        return 0
    stale = 0
    for item in DEFINITIONS:
        path = (arguments.write or arguments.check) / item.file_name
        if arguments.write is not None:
            path.write_text(item.text(), encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != item.text():
            print(
                f"{path}: differs from the types: run `plimsoll crd --write {path.parent}`",
                file=sys.stderr,
            )
            stale = 1
    return stale
