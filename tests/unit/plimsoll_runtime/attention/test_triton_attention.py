"""The Triton backend, where no GPU is at hand: by Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

from plimsoll_runtime.attention.kv_cache import KVCache

pytest.importorskip("triton")
CASES = "tests.unit.plimsoll_runtime.attention.triton_cases"
RANDOM = 6


def test_equal_to_torch_for_any_mix() -> None:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", CASES, str(RANDOM)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_blocks_that_no_matrix_unit_takes_are_refused() -> None:
    from plimsoll_runtime.attention.triton_paged import TritonAttention

    for size in (4, 24):
        with pytest.raises(ValueError, match=f"blocks of {size} tokens are no power of two"):
            TritonAttention(KVCache(torch.zeros(2, 1, 3, size, 1, 16)))


def test_a_cache_in_int8_is_refused() -> None:
    from plimsoll_runtime.attention.triton_paged import TritonAttention

    pages = torch.zeros(2, 1, 3, 16, 1, 16, dtype=torch.int8)
    with pytest.raises(ValueError, match="does not read a KV cache in int8"):
        TritonAttention(KVCache(pages, torch.zeros(pages.shape[:-1]), torch.bfloat16))
