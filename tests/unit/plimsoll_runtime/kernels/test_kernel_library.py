"""The library of kernels: found or not, and no second OpenMP runtime with it."""

from pathlib import Path

import pytest

from plimsoll_runtime.kernels.library import KernelsUnavailableError, load_kernels


def test_a_missing_library_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KernelsUnavailableError, match=r"is missing.*put g\+\+ or clang\+\+"):
        load_kernels(tmp_path / "none.so")


def test_a_library_that_does_not_load_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF, but not really")
    with pytest.raises(KernelsUnavailableError, match=r"cannot be used: .*broken\.so"):
        load_kernels(broken)


def test_one_openmp_runtime_is_in_the_process() -> None:
    try:
        load_kernels()
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    runtimes = [path for path in mapped if "libgomp" in path or "omp5" in path]
    assert len(runtimes) == 1, runtimes
