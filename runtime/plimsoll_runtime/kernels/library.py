"""The library of CPU kernels, made from `runtime/csrc` when the package is installed."""

import ctypes
import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# The library finds torch's OpenMP runtime, which must be in the process before.
import torch  # noqa: F401

LIBRARY = Path(__file__).with_name("libplimsoll.so")


class KernelsUnavailableError(RuntimeError):
    """There are no kernels on this machine; the message says why, and what to do about it."""


class InstructionSet(enum.IntEnum):
    """What the kernels were compiled for; each one's numbers are a little different in rounding."""

    PORTABLE = 0
    AVX2 = 1
    AVX512 = 2
    AVX512_BF16 = 3


@dataclass(frozen=True)
class Kernels:
    """The library's functions, and the best instruction set that this processor has."""

    paged_attention: Callable[..., int]
    best: InstructionSet


@cache
def load_kernels(path: Path = LIBRARY) -> Kernels:
    """The kernels. Raises KernelsUnavailableError where the library is missing or does not load."""
    if not path.is_file():
        raise KernelsUnavailableError(
            f"{path} is missing: Plimsoll was installed without a C++ compiler; put g++ or clang++ "
            "on PATH (or name one in CXX) and install it again"
        )
    try:
        library = ctypes.CDLL(str(path))
        best = InstructionSet(library.plimsoll_best_instruction_set())
        paged_attention = library.plimsoll_paged_attention
    except (OSError, AttributeError, ValueError) as error:
        raise KernelsUnavailableError(
            f"{path} cannot be used: {error}; install Plimsoll again on this machine"
        ) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    paged_attention.argtypes = [
        *(pointer, number),  # the step, the layer
        *(pointer, number) * 3,  # query, key and value with their strides
        pointer,  # out
    ]
    paged_attention.restype = ctypes.c_int
    return Kernels(paged_attention, best)
