"""`python -m e2e.quality`: what number formats cost in quality, measured on `builtin://tiny`.

Needs no network and no installation: `PYTHONPATH=operator:runtime:. python -m e2e.quality` in a
checkout does.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.quality.measurement import measure
from e2e.quality.page import page, speeds, table
from e2e.quality.text import MODEL, windows
from e2e.quality.variants import VARIANTS
from plimsoll_bench.host import machine

CONTINUED = 128


def main(argv: Sequence[str]) -> int:
    """Prints quality and speed of every variant."""
    parser = argparse.ArgumentParser(prog="python -m e2e.quality", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="where the page goes")
    given = parser.parse_args(argv)
    text = windows()
    found = [(variant, measure(MODEL, variant.options, text, CONTINUED)) for variant in VARIANTS]
    print(table(found), speeds(found), sep="\n")
    if given.write:
        here = machine()
        named = f"{here.get('cpu', 'a CPU')}, {here['cores']} cores"
        text_of_page = page(found, platform.python_version(), named)
        given.write.write_text(text_of_page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
