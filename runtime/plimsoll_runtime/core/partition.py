"""Which part of a model each rank of a tensor-parallel engine holds (arXiv:1909.08053).

Heads, MLP columns and the vocabulary are cut into contiguous shares, in the order of the ranks.
Where there are more ranks than KV heads, neighbours hold copies of one (arXiv:2211.05102).
"""

from dataclasses import replace

from plimsoll_runtime.core.model_config import ModelConfig


def divides_into(
    num_attention_heads: int, num_kv_heads: int, intermediate_size: int, size: int
) -> bool:
    """Whether heads and MLP columns divide evenly over `size` ranks.

    KV heads divide when each rank has as many as any other, or each has as many ranks.
    """
    shares_kv = num_kv_heads % size == 0 or size % num_kv_heads == 0
    return num_attention_heads % size == 0 and shares_kv and intermediate_size % size == 0


def shard_config(config: ModelConfig, size: int) -> ModelConfig:
    """The layers of one of `size` ranks, as the shape of a narrower model with the same width of
    the residual stream and the same vocabulary.

    Raises ValueError where they do not divide evenly, with the sizes that do.
    """
    heads, kv_heads, inner = (
        config.num_attention_heads,
        config.num_kv_heads,
        config.intermediate_size,
    )
    if not divides_into(heads, kv_heads, inner, size):
        valid = [n for n in range(1, heads + 1) if divides_into(heads, kv_heads, inner, n)]
        raise ValueError(
            f"tensor_parallel_size {size} does not divide the model's {heads} attention heads, "
            f"{kv_heads} KV heads and {inner} MLP columns evenly; "
            f"for this model it can be {', '.join(map(str, valid))}"
        )
    return replace(
        config,
        num_attention_heads=heads // size,
        num_kv_heads=max(1, kv_heads // size),
        intermediate_size=inner // size,
    )


def first_kv_head(num_kv_heads: int, rank: int, size: int) -> int:
    """The first of the KV heads that a rank holds."""
    return rank * num_kv_heads // size


def vocab_share(vocab_size: int, size: int) -> int:
    """Rows of embedding and output head that each rank has; the last ranks' may go beyond the
    vocabulary."""
    return -(-vocab_size // size)


def vocab_range(vocab_size: int, rank: int, size: int) -> range:
    """The token ids of a rank, none where the ranks before it have them all."""
    share = vocab_share(vocab_size, size)
    return range(min(rank * share, vocab_size), min((rank + 1) * share, vocab_size))
