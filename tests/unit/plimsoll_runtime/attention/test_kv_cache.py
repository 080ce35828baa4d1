"""The cache's size is what was planned, and tokens come back from where they were put."""

import os
from pathlib import Path

import pytest
import torch

from plimsoll_runtime.attention.int8 import dequantize, quantize
from plimsoll_runtime.attention.kv_cache import KVCache, bytes_per_block
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.kernels.lent_pages import PIECE_BYTES, pieces

CPU = torch.device("cpu")
CONFIG = ModelConfig.from_hf(
    {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 11,
    }
)


def test_the_cache_takes_its_blocks_and_one_null_block() -> None:
    cache = KVCache.allocate(CONFIG, 5, 16, torch.bfloat16, CPU)
    assert bytes_per_block(CONFIG, 16, torch.bfloat16) == 2 * 3 * 16 * 2 * 8 * 2
    assert cache.pages.nbytes == 6 * bytes_per_block(CONFIG, 16, torch.bfloat16)
    assert (cache.num_blocks, cache.block_size, cache.null_slot) == (5, 16, 80)
    assert (cache.pages[:, :, 5] == 0).all()


def test_what_is_stored_is_loaded() -> None:
    cache = KVCache.allocate(CONFIG, 5, 4, torch.float32, CPU)
    key, value = torch.randn(3, 2, 8), torch.randn(3, 2, 8)
    cache.store(1, key, value, torch.tensor([17, 2, 9]))
    keys, values = cache.load(1, torch.tensor([[9, 17], [2, cache.null_slot]]))
    assert keys.shape == (2, 2, 2, 8)
    assert torch.equal(keys[0, :, 1], key[0])
    assert torch.equal(values[0, :, 0], value[2])
    assert torch.equal(values[1, :, 0], value[1])
    assert (keys[1, :, 1] == 0).all()
    assert torch.equal(cache.pages[0, 1, 4, 1], key[0])  # slot 17 is block 4, offset 1


def test_an_int8_cache_has_a_scale_for_each_key_and_value_of_a_head() -> None:
    int8 = KVCacheDtype.INT8
    cache = KVCache.allocate(CONFIG, 5, 16, torch.bfloat16, CPU, int8)
    block = bytes_per_block(CONFIG, 16, torch.bfloat16, int8)
    assert block == 2 * 3 * 16 * 2 * (8 + 4)
    assert cache.nbytes == 6 * block
    key, value = torch.randn(1, 2, 8).bfloat16(), torch.randn(1, 2, 8).bfloat16()
    cache.store(2, key, value, torch.tensor([33]))
    keys, values = cache.load(2, torch.tensor([[33, cache.null_slot]]))
    assert keys.dtype == torch.bfloat16
    for got, put in ((keys[0, :, 0], key[0]), (values[0, :, 0], value[0])):
        step = put.abs().amax(-1, keepdim=True) / 127
        assert ((got - put).abs() <= 0.5 * step + 2**-8 * put.abs()).all()
    assert (keys[0, :, 1] == 0).all()


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1.0, 1e30, 3e38])
def test_int8_is_off_by_half_a_step_at_most(size: float) -> None:
    x = torch.randn(7, 2, 24).clamp(-1, 1) * size
    x[0] = 0
    numbers, scales = quantize(x)
    assert int(numbers.abs().max()) == (127 if size > 1e-36 else numbers.abs().max())
    error = (dequantize(numbers, scales, torch.float32) - x).abs()
    assert (error <= 0.5001 * scales.unsqueeze(-1)).all()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_spoils_its_own_row_alone(poison: float) -> None:
    x = torch.randn(3, 2, 8)
    x[1, 0, 3] = poison
    back = dequantize(*quantize(x), torch.float32)
    assert not back[1, 0].isfinite().any()
    back[1, 0] = 0
    assert back.isfinite().all()


@pytest.mark.parametrize("kv_cache_dtype", KVCacheDtype)
def test_memory_is_taken_piece_by_piece_while_blocks_are_used(kv_cache_dtype: KVCacheDtype) -> None:
    before = resident_bytes()
    size = 20_000 if kv_cache_dtype is KVCacheDtype.AUTO else 60_000
    cache = KVCache.allocate(CONFIG, size, 16, torch.float32, CPU, kv_cache_dtype)
    assert cache.nbytes > 100e6
    assert resident_bytes() - before < 0.1 * cache.nbytes
    steps = cache.take_memory()
    if next(steps, 0) == 0:
        pytest.skip("this system lends memory only when it is used")
    key, value = torch.randn(2, 2, 8), torch.randn(2, 2, 8)
    slots = torch.tensor([0, size * 16 - 1])
    cache.store(2, key, value, slots)
    stored = [each.clone() for each in cache.load(2, slots[None])]
    last = resident_bytes()
    for _ in steps:
        last, previous = resident_bytes(), last
        assert last - previous <= 3 * PIECE_BYTES
    assert resident_bytes() - before > 0.95 * cache.nbytes
    assert all(map(torch.equal, cache.load(2, slots[None]), stored))
    assert not any(each.any() for each in cache.load(2, torch.tensor([[cache.null_slot]])))


def test_the_lowest_blocks_come_first() -> None:
    cache = KVCache.allocate(CONFIG, 20_000, 16, torch.float32, CPU)
    rows = cache.pages.flatten(0, 1)
    found = list(pieces(cache.pages, len(rows)))
    begins = [row.data_ptr() for row in rows]
    assert [address for address, _ in found[: len(rows)]] == begins
    assert sum(size for _, size in found) == cache.pages.nbytes
    offsets = [(address - begins[i % len(rows)]) for i, (address, _) in enumerate(found)]
    assert offsets == sorted(offsets)


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
