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
    "fp16": "stored as fp16, computed in the plugin's default, bf16; its KV cache's default type",
    "int8": "optimum's int8 weights; its KV cache's default type",
}


def engines() -> list[Engine]:
    """With 16-bit and with 8-bit weights."""
    version = f"openvino-genai {VERSION}.0"
    return [
        Engine("openvino", version, partial(_start, "fp16"), Precision.BF16, _HOME),
        Engine("openvino-int8", version, partial(_start, "int8"), Precision.INT8, _HOME),
    ]


def _start(kind: str, model: RandomModel, port: int, size: Size) -> Start:
    folder = _converted(model, kind)
    numbers = (port, THREADS, size.sequences, STEP_TOKENS, KV_BYTES // 2**30)
    module = "e2e.peers.openvino_server"
    return Start((_HOME.python, "-m", module, str(folder), *map(str, numbers)), note=_NOTES[kind])


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
