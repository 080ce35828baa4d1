"""Tokens from logits by the C++ kernels: a few passes over each row, and no sort of one."""

import ctypes
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.engine.sampler import (
    TORCH_SAMPLER,
    Sampler,
    SampleRow,
    Scan,
    uniform,
)
from plimsoll_runtime.kernels.library import (
    InstructionSet,
    Kernels,
    KernelsUnavailableError,
    load_kernels,
)


class _Draw(ctypes.Structure):
    """`Draw` in runtime/csrc/sampling.h."""

    _fields_ = (
        ("row", ctypes.c_int64),
        ("likeliest", ctypes.c_int64),
        ("top_k", ctypes.c_int64),
        ("temperature", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("uniform", ctypes.c_double),
    )


class NativeSampler:
    """See `Sampler`. For logits on CPU; raises ValueError for others."""

    def __init__(self, kernels: Kernels, instruction_set: InstructionSet | None = None) -> None:
        chosen = kernels.best if instruction_set is None else instruction_set
        if chosen > kernels.best:
            raise ValueError(f"this processor has {kernels.best.name} at most, not {chosen.name}")
        self._kernels = kernels
        self._instruction_set = chosen

    def scan(self, logits: Tensor) -> Scan:
        """See `Sampler`."""
        rows, vocab = _check(logits)
        largest = (ctypes.c_int64 * rows)()
        finite = (ctypes.c_bool * rows)()
        if rows:
            self._kernels.scan(
                logits.data_ptr(),
                logits.stride(0),
                rows,
                vocab,
                largest,
                finite,
                self._instruction_set,
                torch.get_num_threads(),
            )
        return Scan(list(largest), list(finite))

    def draw(
        self, logits: Tensor, members: Sequence[int], rows: Sequence[SampleRow], scan: Scan
    ) -> list[int]:
        """See `Sampler`. Raises MemoryError when there is no room to choose in."""
        count, vocab = _check(logits)
        draws = (_Draw * len(members))()
        for i, member in enumerate(members):
            sampling = rows[member].sampling
            likeliest = scan.largest[member]
            if not (0 <= member < count and 0 <= likeliest < vocab and sampling.temperature > 0):
                raise ValueError(
                    f"row {member} of {count} with the likeliest token {likeliest} of {vocab} and "
                    f"temperature {sampling.temperature} cannot be drawn from"
                )
            draws[i] = _Draw(
                member,
                likeliest,
                sampling.top_k,
                sampling.temperature,
                sampling.min_p,
                sampling.top_p,
                uniform(sampling.seed or 0, rows[member].output_index),
            )
        tokens = (ctypes.c_int64 * len(members))()
        failed = self._kernels.draw(
            logits.data_ptr(),
            logits.stride(0),
            vocab,
            draws,
            len(members),
            tokens,
            self._instruction_set,
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError(f"no memory to choose {len(members)} tokens of {vocab}")
        return list(tokens)


def _check(logits: Tensor) -> tuple[int, int]:
    rows, vocab = logits.shape
    if logits.dtype != torch.float32 or logits.device.type != "cpu" or logits.stride(1) != 1:
        raise ValueError(
            f"logits must be float32 on cpu with contiguous rows, not {logits.dtype} on "
            f"{logits.device.type} with strides {logits.stride()}"
        )
    if not 0 < vocab < 2**31:
        raise ValueError(f"logits of {vocab} tokens")
    return rows, vocab


def choose_sampler(device: torch.device, backend: AttentionBackend) -> Sampler:
    """The one for logits on `device`: the kernels where they are wanted and can be."""
    if backend is not AttentionBackend.TORCH and device.type == "cpu":
        # That there are none is told where attention is chosen.
        with suppress(KernelsUnavailableError):
            return NativeSampler(load_kernels())
    return TORCH_SAMPLER
