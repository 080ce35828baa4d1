"""The library of kernels: found or not, and how its threads share work."""

import os
import platform
import runpy
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plimsoll_runtime.kernels.library import (
    LIBRARY,
    InstructionSet,
    KernelsUnavailableError,
    load_kernels,
)
from plimsoll_runtime.model.matrix import PackedMatrix

with_kernels = pytest.mark.skipif(not LIBRARY.is_file(), reason="there is no library of kernels")
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="one instruction set elsewhere")

BUILD = Path(__file__).parents[4] / "runtime" / "csrc" / "build.py"
CPUINFO = Path("/proc/cpuinfo")
# What Linux calls the extensions that each set takes beside those of the sets before it.
EXTENSIONS = {
    InstructionSet.PORTABLE: set[str](),
    InstructionSet.AVX2: {"avx2", "fma"},
    InstructionSet.AVX512: {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    InstructionSet.AVX512_VNNI: {"avx512_vnni"},
    InstructionSet.AVX512_BF16: {"avx512_bf16"},
}


def test_a_missing_library_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KernelsUnavailableError, match=r"is missing.*put g\+\+ or clang\+\+"):
        load_kernels(tmp_path / "none.so")


def test_a_library_that_does_not_load_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF, but not really")
    with pytest.raises(KernelsUnavailableError, match=r"cannot be used: .*broken\.so"):
        load_kernels(broken)


def test_a_build_without_a_compiler_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = runpy.run_path(str(BUILD))
    target = tmp_path / "old.so"
    target.write_bytes(b"the one before")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build["BuildError"], match=r"none of c\+\+, g\+\+, clang\+\+ is on PATH"):
        build["build"](target)
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(build["BuildError"], match="none: No such file or directory"):
        build["build"](target)
    assert target.read_bytes() == b"the one before"


def test_what_a_compiler_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = runpy.run_path(str(BUILD))
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho no such header >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(build["BuildError"], match="no such header"):
        build["build"](tmp_path / "new.so")
    assert not (tmp_path / "new.so").exists()


@on_x86
def test_kernels_are_compiled_for_every_instruction_set_with_its_extensions() -> None:
    options: dict[str, tuple[str, ...]] = runpy.run_path(str(BUILD))["INSTRUCTION_SETS"]
    assert list(options) == [each.name.lower() for each in InstructionSet]
    for each, flags in zip(InstructionSet, options.values(), strict=True):
        given = {flag.removeprefix("-m") for flag in flags}
        assert {name.replace("512_", "512") for name in EXTENSIONS[each]} <= given


@on_x86
@with_kernels
def test_the_best_instruction_set_is_the_last_that_the_processor_has_all_of() -> None:
    line = next(each for each in CPUINFO.read_text().splitlines() if each.startswith("flags"))
    flags = set(line.split())
    best = InstructionSet.PORTABLE
    for each in InstructionSet:
        if not EXTENSIONS[each] <= flags:
            break
        best = each
    assert load_kernels().best is best


def multiply(rows: int, threads: int) -> Tensor:
    """A product whose panels are shared by so many threads."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2000, 256, generator=generator)
    matrix = PackedMatrix(weight, load_kernels(), load_kernels().best)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return matrix.multiply(torch.randn(rows, 256, generator=generator))
    finally:
        torch.set_num_threads(before)


@with_kernels
def test_many_calls_with_changing_numbers_of_threads_lose_no_piece() -> None:
    expected = multiply(5, 1)
    for i in range(300):
        assert torch.equal(multiply(5, 1 + i % 7), expected)


@with_kernels
def test_two_callers_at_once_get_what_is_theirs() -> None:
    expected = {rows: multiply(rows, 1) for rows in (1, 9)}

    def call(rows: int) -> bool:
        return all(torch.equal(multiply(rows, 3), expected[rows]) for _ in range(100))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(call, (1, 9)))


@with_kernels
def test_a_forked_process_has_threads_again() -> None:
    expected = multiply(5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that others threads are not copied
        child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(multiply(5, 3), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
