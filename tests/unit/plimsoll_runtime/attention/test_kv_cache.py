"""The cache's size is what was planned, and tokens come back from where they were put."""

import os
from pathlib import Path

import torch

from plimsoll_runtime.attention.kv_cache import KVCache, bytes_per_block
from plimsoll_runtime.core.model_config import ModelConfig

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
    cache = KVCache.allocate(CONFIG, 5, 16, torch.bfloat16, torch.device("cpu"))
    assert bytes_per_block(CONFIG, 16, torch.bfloat16) == 2 * 3 * 16 * 2 * 8 * 2
    assert cache.pages.nbytes == 6 * bytes_per_block(CONFIG, 16, torch.bfloat16)
    assert (cache.num_blocks, cache.block_size, cache.null_slot) == (5, 16, 80)
    assert (cache.pages[:, :, 5] == 0).all()


def test_what_is_stored_is_loaded() -> None:
    cache = KVCache.allocate(CONFIG, 5, 4, torch.float32, torch.device("cpu"))
    key, value = torch.randn(3, 2, 8), torch.randn(3, 2, 8)
    cache.store(1, key, value, torch.tensor([17, 2, 9]))
    keys, values = cache.load(1, torch.tensor([[9, 17], [2, cache.null_slot]]))
    assert keys.shape == (2, 2, 2, 8)
    assert torch.equal(keys[0, :, 1], key[0])
    assert torch.equal(values[0, :, 0], value[2])
    assert torch.equal(values[1, :, 0], value[1])
    assert (keys[1, :, 1] == 0).all()
    assert torch.equal(cache.pages[0, 1, 4, 1], key[0])  # slot 17 is block 4, offset 1


def test_the_memory_is_taken_at_the_start() -> None:
    before = resident_bytes()
    cache = KVCache.allocate(CONFIG, 20_000, 16, torch.float32, torch.device("cpu"))
    assert cache.pages.nbytes > 100e6
    assert resident_bytes() - before > 0.9 * cache.pages.nbytes


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
