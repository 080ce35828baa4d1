"""Every head, column and token of a model belongs to the ranks that need it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.partition import (
    divides_into,
    first_kv_head,
    shard_config,
    vocab_range,
    vocab_share,
)

CONFIG = ModelConfig.from_hf(
    {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "vocab_size": 97,
    }
)


@given(
    st.sampled_from([1, 2, 3, 4, 6, 8]),
    st.sampled_from([1, 2, 3, 4, 6, 8]),
    st.sampled_from([1, 2, 3, 4, 6, 8, 12]),
)
def test_each_query_head_finds_its_kv_head_on_its_own_rank(
    kv_heads: int, group: int, size: int
) -> None:
    heads = kv_heads * group
    if not divides_into(heads, kv_heads, 12 * size, size):
        return
    config = replace(
        CONFIG, num_attention_heads=heads, num_kv_heads=kv_heads, intermediate_size=12 * size
    )
    shard = shard_config(config, size)
    seen = []
    for rank in range(size):
        local_group = shard.num_attention_heads // shard.num_kv_heads
        for local in range(shard.num_attention_heads):
            head = rank * shard.num_attention_heads + local
            seen.append(head)
            held = first_kv_head(kv_heads, rank, size) + local // local_group
            assert held == head // group
    assert seen == list(range(heads))
    assert shard.num_kv_heads * size == max(kv_heads, size)


@given(st.integers(1, 300), st.integers(1, 8))
def test_each_token_belongs_to_one_rank(vocab_size: int, size: int) -> None:
    ranges = [vocab_range(vocab_size, rank, size) for rank in range(size)]
    assert [token for each in ranges for token in each] == list(range(vocab_size))
    assert max(len(each) for each in ranges) <= vocab_share(vocab_size, size)
    # Rows of the ranks side by side are the vocabulary, then padding.
    assert all(each.start == rank * len(ranges[0]) for rank, each in enumerate(ranges) if each)


def test_a_shard_is_a_narrower_model() -> None:
    shard = shard_config(CONFIG, 2)
    assert (shard.num_attention_heads, shard.num_kv_heads, shard.intermediate_size) == (4, 2, 48)
    assert (shard.head_dim, shard.hidden_size, shard.vocab_size) == (8, 64, 97)
    assert shard_config(CONFIG, 8).num_kv_heads == 1
    assert shard_config(CONFIG, 1) == CONFIG


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (CONFIG, 3),
        (CONFIG, 16),
        (replace(CONFIG, num_kv_heads=8, intermediate_size=90), 4),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_those_that_do(
    config: ModelConfig, size: int
) -> None:
    with pytest.raises(ValueError, match=f"tensor_parallel_size {size} does not divide") as caught:
        shard_config(config, size)
    valid = [int(n) for n in str(caught.value).rpartition("it can be ")[2].split(", ")]
    assert valid == [
        n for n in range(1, 9) if divides_into(8, config.num_kv_heads, config.intermediate_size, n)
    ]
    for each in valid:
        shard_config(config, each)
