"""The library of CPU kernels, made from `runtime/csrc` when the package is installed."""

import ctypes
import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).with_name("libplimsoll.so")

# What the functions in runtime/csrc take.
_P, _N, _I = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_ATTENTION = (_P, _N, _P, _N, _P, _N, _P, _N, _P)
_RMS_NORM = (_P, _P, _N, _P, _N, _P, ctypes.c_float, _N, _N, _I, _I)
_ROTATE = (_P, _N, _P, _N, _N, _N, _I, _I)
_SILU_AND_MUL = (_P, _P, _N, _N, _N, _I, _I)
_PACK = (_P, _P, _N, _N, _N, _I)
_PACK_INT8 = (_P, _P, _P, _P, _N, _N, _I, _N, _N, _I, _I)
_UNPACK = (_P, _P, _P, _N, _N, _I)
_UNPACK_INT8 = (_P, _P, _P, _N, _N, _I, _I)
_NORM_HEADS = (_P, _N, _P, ctypes.c_float, _N, _N, _N, _I, _I)
_DECODE = (_P, _P, _P, _P, _P, _N, _I)
_MULTIPLY = (_P, _P, _N, _N, _P, _P, _P, _N, _I, _I)
_MULTIPLY_INT8 = (_P, _P, _N, _I, _N, _N, _P, _P, _P, _P, _N, _I, _I)
_SCAN = (_P, _N, _N, _N, _P, _P, _I, _I)
_DRAW = (_P, _N, _N, _P, _N, _P, _I, _I)


class KernelsUnavailableError(RuntimeError):
    """There are no kernels on this machine; the message says why, and what to do about it."""


class InstructionSet(enum.IntEnum):
    """What the kernels were compiled for; each one's numbers are a little different in rounding."""

    PORTABLE = 0
    AVX2 = 1
    AVX512 = 2
    AVX512_VNNI = 3
    AVX512_BF16 = 4


Function = Callable[..., Any]


@dataclass(frozen=True)
class Kernels:
    """The library's functions, and the best instruction set that this processor has."""

    best: InstructionSet
    paged_attention: Function
    rms_norm: Function
    rotate: Function
    silu_and_mul: Function
    pack: Function
    pack_int8: Function
    unpack: Function
    unpack_int8: Function
    multiply: Function
    multiply_int8: Function
    norm_heads: Function
    decode: Function
    scan: Function
    draw: Function


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
        return Kernels(
            best,
            paged_attention=_typed(library.plimsoll_paged_attention, _ATTENTION, ctypes.c_int),
            rms_norm=_typed(library.plimsoll_rms_norm, _RMS_NORM),
            rotate=_typed(library.plimsoll_rotate, _ROTATE),
            silu_and_mul=_typed(library.plimsoll_silu_and_mul, _SILU_AND_MUL),
            pack=_typed(library.plimsoll_pack, _PACK),
            pack_int8=_typed(library.plimsoll_pack_int8, _PACK_INT8),
            unpack=_typed(library.plimsoll_unpack, _UNPACK),
            unpack_int8=_typed(library.plimsoll_unpack_int8, _UNPACK_INT8),
            multiply=_typed(library.plimsoll_multiply, _MULTIPLY),
            multiply_int8=_typed(library.plimsoll_multiply_int8, _MULTIPLY_INT8),
            norm_heads=_typed(library.plimsoll_norm_heads, _NORM_HEADS),
            decode=_typed(library.plimsoll_decode, _DECODE, ctypes.c_int),
            scan=_typed(library.plimsoll_scan, _SCAN),
            draw=_typed(library.plimsoll_draw, _DRAW, ctypes.c_int),
        )
    except (OSError, AttributeError, ValueError) as error:
        raise KernelsUnavailableError(
            f"{path} cannot be used: {error}; install Plimsoll again on this machine"
        ) from error


def _typed(function: Any, arguments: tuple[type, ...], result: type | None = None) -> Function:
    function.argtypes = arguments
    function.restype = result
    typed: Function = function
    return typed
