"""The C++ kernels, where they are built."""

import pytest

from plimsoll_runtime.kernels.library import Kernels, KernelsUnavailableError, load_kernels


def kernels() -> Kernels:
    """Skips the test where there are none."""
    try:
        return load_kernels()
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
