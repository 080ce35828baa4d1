"""Which attention is chosen, and what is said where it is not the fast one."""

import logging

import pytest
import torch

from plimsoll_runtime.attention import backend
from plimsoll_runtime.attention.backend import choose_attention, describe
from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.kernels.library import Kernels, KernelsUnavailableError, load_kernels


def cache(dtype: torch.dtype = torch.float32, device: str = "cpu") -> KVCache:
    return KVCache(torch.zeros(2, 1, 2, 4, 1, 8, dtype=dtype, device=device))


def missing() -> Kernels:
    raise KernelsUnavailableError("no compiler was there")


def test_torch_when_asked_for() -> None:
    assert describe(choose_attention(cache(), AttentionBackend.TORCH)) == "torch"


@pytest.mark.parametrize("asked", [AttentionBackend.AUTO, AttentionBackend.NATIVE])
def test_the_kernels_where_there_are_any(asked: AttentionBackend) -> None:
    try:
        best = load_kernels().best
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
    assert describe(choose_attention(cache(), asked)) == f"native ({best.name})"


def test_a_missing_library_is_told_with_what_it_costs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backend, "load_kernels", missing)
    with caplog.at_level(logging.WARNING):
        assert describe(choose_attention(cache(), AttentionBackend.AUTO)) == "torch"
    assert "no compiler was there" in caplog.text
    assert backend.COST in caplog.text
    with pytest.raises(ValueError, match="cannot be used: no compiler was there"):
        choose_attention(cache(), AttentionBackend.NATIVE)


def test_other_devices_use_torch_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert describe(choose_attention(cache(device="meta"), AttentionBackend.AUTO)) == "torch"
    assert not caplog.records
    with pytest.raises(ValueError, match="on meta, and the kernels are for CPU"):
        choose_attention(cache(device="meta"), AttentionBackend.NATIVE)


def test_a_dtype_without_kernels_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert describe(choose_attention(cache(torch.float16), AttentionBackend.AUTO)) == "torch"
    assert "torch.float16" in caplog.text


def test_triton_is_for_gpus() -> None:
    with pytest.raises(ValueError, match="is for GPUs, and the cache is on cpu"):
        choose_attention(cache(), AttentionBackend.TRITON)
