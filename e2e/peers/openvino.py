"""OpenVINO GenAI's continuous batching, behind a small server of ours."""

import shutil
from functools import partial
from pathlib import Path

from e2e.peers.engine import KV_BYTES, STEP_TOKENS, THREADS, Engine, Precision, Size, Start
from e2e.peers.environments import Environment, run
from e2e.peers.models import RandomModel

VERSION = "2026.4.1"
_HOME = Environment(
    "openvino",
    VERSION,
    (f"openvino-genai=={VERSION}.0", "optimum-intel==2.2.0", "nncf==3.4.0", "torch==2.15.0"),
)
_NOTES = {
    "fp16": "stored as fp16, computed in the plugin's default, bf16 where the processor has it; "
    "its KV cache's default type",
    "int8": "optimum's int8 weights; its KV cache's default type",
}
_KINDS = {"many": "continuous batching", "one": "its pipeline for one request at a time"}
_ALONE = ("W1", "W2")


def engines() -> list[Engine]:
    """With 16-bit and with 8-bit weights; for requests that are alone its other pipeline too."""
    version = f"openvino-genai {VERSION}.0"
    return [
        Engine(f"openvino{suffix}", version, partial(_start, kind, weights), precision, _HOME, only)
        for kind, weights, suffix, precision, only in (
            ("many", "fp16", "", Precision.BF16, ()),
            ("many", "int8", "-int8", Precision.INT8, ()),
            ("one", "fp16", "-one", Precision.BF16, _ALONE),
            ("one", "int8", "-one-int8", Precision.INT8, _ALONE),
        )
    ]


def _start(kind: str, weights: str, model: RandomModel, port: int, size: Size) -> Start:
    folder = _converted(model, weights)
    numbers = (port, THREADS, size.sequences, STEP_TOKENS, KV_BYTES // 2**30)
    command = [_HOME.python, "-m", "e2e.peers.openvino_server", kind, str(folder)]
    return Start((*command, *map(str, numbers)), note=f"{_KINDS[kind]}; {_NOTES[weights]}")


def _converted(model: RandomModel, kind: str) -> Path:
    """The model as OpenVINO's graph."""
    folder = model.beside(f"openvino-{kind}")
    if not folder.exists():
        new = model.beside(f"openvino-{kind}.new")
        shutil.rmtree(new, ignore_errors=True)
        task = ["--task", "text-generation-with-past", "--weight-format", kind]
        optimum = str(_HOME.folder / "bin" / "optimum-cli")
        run(optimum, "export", "openvino", "-m", str(model.make()), *task, str(new))
        new.rename(folder)
    return folder
