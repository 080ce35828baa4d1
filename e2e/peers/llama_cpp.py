"""llama.cpp's own server, built from the sources in llama-cpp-python's source distribution."""

import shutil
from functools import partial
from pathlib import Path

from e2e.peers.engine import ROOT, THREADS, Engine, Precision, Size, Start
from e2e.peers.environments import Environment, run, say
from e2e.peers.models import RandomModel

VERSION = "0.3.36"
_HOME = Environment(
    "llama.cpp", VERSION, ("gguf==0.19.0", "numpy==2.4.6", "cmake>=3.31", "ninja>=1.11", "pip")
)
_PROGRAMS = ("llama-server", "llama-quantize")
_OFF = (
    "LLAMA_BUILD_UI",
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_EXAMPLES",
    "LLAMA_BUILD_APP",
    "LLAMA_OPENSSL",
    "LLAMA_USE_PREBUILT_UI",
)
_ALONE = ("W1", "W2")
_MOST_SLOTS = 32
"""More did not raise its throughput."""
_MOST_CELLS = 65536
"""Tokens for which it gives every slot its own part of the cache; beyond, all share so many."""


def engines() -> list[Engine]:
    """In bf16, and in its 8-bit format."""
    version = f"llama-cpp-python {VERSION}"
    return [
        Engine("llama.cpp", version, partial(_start, "bf16"), Precision.BF16, _HOME),
        # Of many at once it computes less in 8 bits than in 16, and takes minutes for W4.
        Engine("llama.cpp-q8_0", version, partial(_start, "q8_0"), Precision.INT8, _HOME, _ALONE),
    ]


def _start(kind: str, model: RandomModel, port: int, size: Size) -> Start:
    programs = _built()
    file = _converted(model, programs / "llama-quantize", kind)
    slots, cache = min(size.sequences, _MOST_SLOTS), "-no-kvu"
    cells = slots * size.context
    if cells > _MOST_CELLS:
        slots, cells, cache = size.sequences, _MOST_CELLS, "-kvu"
    command = [str(programs / "llama-server"), "--offline", "-m", str(file), "--port", str(port)]
    command += ["-t", str(THREADS), "-tb", str(THREADS), "-np", str(slots), cache]
    command += ["-c", str(cells), "-cram", "0", "--host", "127.0.0.1"]
    return Start(tuple(command), note=f"llama-server, {kind}, {slots} slots")


def _converted(model: RandomModel, quantize: Path, kind: str) -> Path:
    """The model as GGUF."""
    file = model.beside(f"{kind}.gguf")
    if not file.exists():
        new = model.beside(f"{kind}.new")
        if kind == "bf16":
            module = "e2e.peers.gguf_writer"
            run(_HOME.python, "-m", module, str(model.make()), str(new), folder=ROOT)
        else:
            source = _converted(model, quantize, "bf16")
            run(str(quantize), str(source), str(new), kind.upper(), str(THREADS))
        new.rename(file)
    return file


def _built() -> Path:
    """The folder of the programs; building takes 13 minutes of one core."""
    home = _HOME.folder
    sources, build = home / "sources", home / "build"
    programs = build / "bin"
    if all((programs / each).exists() for each in _PROGRAMS):
        return programs
    say("building llama.cpp")
    if not list(sources.glob("*.tar.gz")):
        options = ["--no-deps", "--no-binary", "llama-cpp-python", "-d", str(sources)]
        package = f"llama-cpp-python=={VERSION}"
        run(_HOME.python, "-m", "pip", "download", "-q", *options, package)
    (archive,) = sources.glob("*.tar.gz")
    run("tar", "xzf", str(archive), "-C", str(sources))
    (tree,) = sources.glob("*/vendor/llama.cpp")
    ninja = home / "bin" / "ninja"
    flags = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    flags += [f"-D{each}=OFF" for each in _OFF]
    cmake = str(home / "bin" / "cmake")
    run(cmake, "-G", "Ninja", "-S", str(tree), "-B", str(build), *flags)
    run(str(ninja), "-C", str(build), *_PROGRAMS)
    shutil.rmtree(sources)
    for each in build.iterdir():
        if each != programs and each.is_dir():
            shutil.rmtree(each)
    return programs
