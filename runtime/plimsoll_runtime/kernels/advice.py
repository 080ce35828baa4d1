"""The C library's calls about pages of memory; Python's mmap has them for its own mappings only."""

import ctypes
from functools import cache
from typing import Any

NO_ACCESS = 0
"""`PROT_NONE`, which Python's mmap has no name for."""
POPULATE_WRITE = 23
"""`MADV_POPULATE_WRITE` of Linux 5.14, which it has no name for either."""


@cache
def madvise() -> Any:
    """The C library's function; `ctypes.get_errno` tells why it failed."""
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


@cache
def mprotect() -> Any:
    """The C library's function."""
    function = ctypes.CDLL(None).mprotect
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
