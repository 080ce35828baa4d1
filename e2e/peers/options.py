"""Options that several of the commands have."""

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from e2e.peers.engine import ROOT, Engine
from e2e.peers.engines import ENGINES
from e2e.peers.environments import say
from e2e.peers.models import MODELS

TRACE = ROOT / "tests" / "data" / "azure_conversation_head.jsonl.gz"


def common(parser: argparse.ArgumentParser, peers: str) -> None:
    """Adds them; `peers` is the default."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    add = parser.add_argument
    add("--peers", default=peers, help=f"of {', '.join(ENGINES)}; NAME=W1+W2 for these only")
    add("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}")
    add("--sitting", default=today, metavar="NAME", help="what is kept is kept under (today)")
    add("--wait-idle", type=float, default=30.0, help="most seconds to wait for idle cores")
    add("--trace", type=Path, default=TRACE, metavar="FILE", help="as `plimsoll trace` reads them")
    add("--trace-seconds", type=float, default=90.0)


def engines(names: str) -> dict[str, Engine]:
    """Those that can be run, by name; why others cannot is told. `NAME=W1+W2` is sent these only.

    Raises SystemExit for one unknown.
    """
    found = {}
    for each in names.split(","):
        name, _, workloads = each.partition("=")
        if name not in ENGINES:
            sys.exit(f"no engine is called {name}: give some of {', '.join(ENGINES)}")
        engine = ENGINES[name]
        reason = engine.missing()
        if reason:
            say(f"{name} is left out: {reason}")
            continue
        found[name] = replace(engine, only=tuple(workloads.split("+"))) if workloads else engine
    return found
