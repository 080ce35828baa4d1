"""Our own engine."""

import re
import sys
from functools import cache, partial

from e2e.peers.engine import KV_BYTES, ROOT, STEP_TOKENS, THREADS, Engine, Precision, Size, Start
from e2e.peers.environments import run
from e2e.peers.models import RandomModel

OURS = "ours"
"""And how the names of its other configurations begin."""
_SERVE = (sys.executable, "-m", "plimsoll_runtime.cli", "serve")
_QUANTIZATION = "--quantization"
_KINDS = ("int8", "int8-weight-only")


def engines() -> list[Engine]:
    """In bf16 and with 8-bit weights, with activations in 8 bits too and without."""
    return [
        Engine(OURS, "", partial(_start, ())),
        *(
            Engine(
                f"{OURS}-{kind}",
                "",
                partial(_start, (f"{_QUANTIZATION}={kind}",)),
                Precision.INT8,
                missing=partial(_lacks, kind),
            )
            for kind in _KINDS
        ),
    ]


def _start(options: tuple[str, ...], model: RandomModel, port: int, size: Size) -> Start:
    command = [*_SERVE, str(model.make()), "--served-model-name=model", f"--port={port}"]
    command += ["--dtype=bfloat16", f"--kv-cache-memory-bytes={KV_BYTES}", f"--threads={THREADS}"]
    command += [f"--max-num-seqs={size.sequences}", f"--max-num-batched-tokens={STEP_TOKENS}"]
    return Start((*command, f"--max-model-len={size.context}", *options), note=" ".join(options))


def _lacks(kind: str) -> str:
    return "" if kind in kinds(_help()) else f"`plimsoll serve` has no {_QUANTIZATION} {kind}"


@cache
def _help() -> str:
    return run(*_SERVE, "--help", folder=ROOT)


def kinds(text: str) -> set[str]:
    """Of quantization, by the help of `plimsoll serve`."""
    found = re.search(rf"{_QUANTIZATION}\s+{{([^}}]*)}}", text)
    return set(re.split(r",\s*", found[1])) if found else set()
