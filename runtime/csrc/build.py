"""Compiles the engine's CPU kernels to one shared library: `python runtime/csrc/build.py`.

Plain C++ and no headers but the compiler's and the system's, so that any compiler will do and
Python's and torch's versions do not matter.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent
TARGET = SOURCES.parent / "plimsoll_runtime" / "kernels" / "libplimsoll.so"
COMPILERS = ("c++", "g++", "clang++")
SYSTEMS = ("Linux",)
FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread"),
    # Fused multiply-add, where there is one, by all compilers alike.
    "-ffp-contract=fast",
    *("-Wall", "-Wextra"),
    # GCC warns of its own AVX-512 headers (its bug 105593).
    "-Wno-uninitialized",
)
LINK_FLAGS = ("-shared", "-pthread", "-static-libgcc", "-static-libstdc++")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq")
INSTRUCTION_SETS: dict[str, tuple[str, ...]] = {"portable": ()}
if platform.machine() in ("x86_64", "AMD64"):
    INSTRUCTION_SETS |= {
        "avx2": ("-mavx2", "-mfma"),
        "avx512": AVX512,
        "avx512_vnni": (*AVX512, "-mavx512vnni"),
        "avx512_bf16": (*AVX512, "-mavx512vnni", "-mavx512bf16"),
    }


class BuildError(Exception):
    """The library cannot be built here; the message says why."""


def find_compiler() -> list[str]:
    """$CXX or the first compiler on PATH. Raises BuildError when there is none."""
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise BuildError(f"no C++ compiler: none of {', '.join(COMPILERS)} is on PATH, CXX is not set")


def build(target: Path, extra_flags: tuple[str, ...] = ()) -> None:
    """Compiles all sources and puts the library at `target`, whole or not at all.

    Raises BuildError, with what the compiler said.
    """
    if platform.system() not in SYSTEMS:
        raise BuildError(f"the kernels are for {' and '.join(SYSTEMS)}")
    compiler = find_compiler()
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for source in sorted(SOURCES.glob("*.cpp")):
            # Kernels are compiled once for each instruction set, everything else once.
            sets = INSTRUCTION_SETS if source.stem.endswith("_kernel") else {"": ()}
            for name, flags in sets.items():
                output = Path(folder) / f"{source.stem}-{name}.o"
                defines = [f"-DPLIMSOLL_ISA={name}"] if name else []
                options = [*FLAGS, *extra_flags, *flags, *defines]
                commands.append([*compiler, *options, "-c", str(source), "-o", str(output)])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, commands))
        library = Path(folder) / TARGET.name
        _run([*compiler, *LINK_FLAGS, *(each[-1] for each in commands), "-o", str(library)])
        target.parent.mkdir(parents=True, exist_ok=True)
        # A process that has the old library open keeps it.
        beside = target.with_suffix(".new")
        shutil.copy(library, beside)
        beside.replace(target)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")


def main() -> int:
    """Builds the library beside the package."""
    arguments = argparse.ArgumentParser(description="Builds the engine's CPU kernels.")
    arguments.add_argument("--target", type=Path, default=TARGET, help="where the library goes")
    arguments.add_argument("--strict", action="store_true", help="warnings are errors")
    chosen = arguments.parse_args()
    try:
        build(chosen.target, ("-Werror",) if chosen.strict else ())
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
