"""`plimsoll download`: a model of the Hub into a folder, to be served from there."""

import argparse
import sys
from pathlib import Path

from plimsoll_runtime.hub.errors import HubError
from plimsoll_runtime.hub.fetch import fetch
from plimsoll_runtime.hub.listing import SCHEME


def main(argv: list[str]) -> int:
    """Exit code 0 when the model is here and verified, 1 when it cannot be had."""
    parser = argparse.ArgumentParser(
        prog="plimsoll download",
        description="Brings a model of the Hugging Face Hub into a folder. A download that was "
        "interrupted goes on where it was; every file is verified by its hash.",
        epilog="HF_TOKEN is for models that are gated or private, HF_ENDPOINT for another Hub.",
    )
    parser.add_argument("model", metavar="MODEL", help="hf://ORG/NAME")
    parser.add_argument("--revision", help="commit, branch or tag (the Hub's default)")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    given = parser.parse_args(argv)
    if not given.model.startswith(SCHEME):
        parser.error(f"{given.model}: a model that is downloaded is {SCHEME}ORG/NAME")
    try:
        fetch(given.model.removeprefix(SCHEME), given.revision, given.into, _say)
    except HubError as error:
        print(f"plimsoll download: {error}", file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(f"plimsoll download: {line}", flush=True)
