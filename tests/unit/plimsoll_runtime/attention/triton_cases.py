"""The Triton kernel against paged attention in torch, run by Triton's interpreter, in fp32: it does
not know how to multiply bf16.

A program of its own: whether Triton interprets is settled when it is imported.
"""

import random
import sys

import torch

from plimsoll_runtime.attention.metadata import build_metadata
from plimsoll_runtime.attention.triton_paged import TritonAttention
from tests.unit.plimsoll_runtime.attention.test_native_attention import CPU, LAYER, Case, Step

EDGES = (
    Case(((0, 1),), kv_heads=1, group=1, head_dim=8),
    Case(((15, 1), (16, 1), (31, 2)), group=4),
    Case(((0, 16), (16, 16), (5, 70)), group=3, head_dim=64),
)


def drawn(seed: int) -> Case:
    rng = random.Random(seed)
    sequences = tuple((rng.randint(0, 60), rng.randint(1, 40)) for _ in range(rng.randint(1, 4)))
    heads, group, dim = rng.choice([1, 2]), rng.choice([1, 3, 4]), rng.choice([8, 24, 32])
    return Case(sequences, heads, group, dim, seed=seed)


def check(case: Case) -> None:
    step = Step(case)
    expected, written = step.attend(None)
    cache = step.copy()
    attention, kv = TritonAttention(cache), case.kv_heads
    query, key, value = step.qkv.split((kv * case.group, kv, kv), dim=1)
    attention.plan(build_metadata(step.spans, case.block_size, step.num_blocks, CPU))
    found = attention.forward(LAYER, query, key, value)
    torch.testing.assert_close(cache.pages, written.pages, equal_nan=True)
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-5, msg=lambda text: f"{case}: {text}"
    )


if __name__ == "__main__":
    for each in (*EDGES, *map(drawn, range(int(sys.argv[1])))):
        check(each)
