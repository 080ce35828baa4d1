"""Our own engine."""

import sys
from functools import cache, partial

from e2e.peers.engine import KV_BYTES, ROOT, STEP_TOKENS, THREADS, Engine, Precision, Size, Start
from e2e.peers.environments import run
from e2e.peers.models import RandomModel

OURS, OURS_INT8 = "ours", "ours-int8"
_SERVE = (sys.executable, "-m", "plimsoll_runtime.cli", "serve")
_QUANTIZATION = "--quantization"


def engines() -> list[Engine]:
    """In bf16 and with 8-bit weights."""
    return [
        Engine(OURS, "", partial(_start, ())),
        Engine(
            OURS_INT8,
            "",
            partial(_start, (f"{_QUANTIZATION}=int8",)),
            Precision.INT8,
            missing=_no_quantization,
        ),
    ]


def _start(options: tuple[str, ...], model: RandomModel, port: int, size: Size) -> Start:
    command = [*_SERVE, str(model.make()), "--served-model-name=model", f"--port={port}"]
    command += ["--dtype=bfloat16", f"--kv-cache-memory-bytes={KV_BYTES}", f"--threads={THREADS}"]
    command += [f"--max-num-seqs={size.sequences}", f"--max-num-batched-tokens={STEP_TOKENS}"]
    return Start((*command, f"--max-model-len={size.context}", *options), note=" ".join(options))


@cache
def _no_quantization() -> str:
    if _QUANTIZATION in run(*_SERVE, "--help", folder=ROOT):
        return ""
    return f"`plimsoll serve` has no {_QUANTIZATION} yet"
