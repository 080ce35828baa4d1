"""Paged attention in Triton: flash attention (arXiv:2205.14135) over pages where they lie.

A program attends for a tile of rows of one sequence and one KV head; a row is a new token and one
of the query heads that share the head, so a page is read once for all of them.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def paged_attention(  # noqa: PLR0913, PLR0917 - a kernel's arguments are its only ones
    query,
    keys,
    values,
    out,
    tiles,
    block_tables,
    seq_lens,
    query_start_loc,
    query_stride,
    out_stride,
    page_stride,
    slot_stride,
    table_stride,
    scale,
    GROUP: tl.constexpr,  # noqa: N803
    HEAD_DIM: tl.constexpr,  # noqa: N803
    PADDED_DIM: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
):
    """`tiles` is `[programs, 2]`: a sequence and the first of its rows; strides are in elements."""
    tile, head = tl.program_id(0), tl.program_id(1)
    sequence, first = tl.load(tiles + 2 * tile), tl.load(tiles + 2 * tile + 1)
    begin = tl.load(query_start_loc + sequence)
    count = tl.load(query_start_loc + sequence + 1) - begin
    start = tl.load(seq_lens + sequence) - count
    rows = first + tl.arange(0, ROWS)
    tokens = rows // GROUP
    heads = head * GROUP + rows % GROUP
    positions = start + tokens
    dims = tl.arange(0, PADDED_DIM)
    inside = (tokens < count)[:, None] & (dims < HEAD_DIM)[None, :]
    place = (begin + tokens) * query_stride + heads * HEAD_DIM
    q = tl.load(query + place[:, None] + dims[None, :], mask=inside, other=0.0)
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    weight = tl.zeros([ROWS], tl.float32)
    summed = tl.zeros([ROWS, PADDED_DIM], tl.float32)
    # Beyond the last row's own position lie other requests' leavings, even NaN.
    stop = start + tl.minimum((first + ROWS - 1) // GROUP, count - 1) + 1
    offsets = tl.arange(0, BLOCK)
    for base in range(0, stop, BLOCK):
        page = tl.load(block_tables + sequence * table_stride + base // BLOCK)
        slots = page * page_stride + offsets * slot_stride + head * HEAD_DIM
        there = (base + offsets < stop)[:, None] & (dims < HEAD_DIM)[None, :]
        k = tl.load(keys + slots[:, None] + dims[None, :], mask=there, other=0.0)
        v = tl.load(values + slots[:, None] + dims[None, :], mask=there, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2_E)
        seen = (base + offsets)[None, :] <= positions[:, None]
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, 1))
        kept = tl.exp2(largest - higher)
        shares = tl.exp2(scores - higher[:, None])
        weight = weight * kept + tl.sum(shares, 1)
        summed = summed * kept[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        largest = higher
    to = (begin + tokens) * out_stride + heads * HEAD_DIM
    result = (summed / weight[:, None]).to(q.dtype)
    tl.store(out + to[:, None] + dims[None, :], result, mask=inside)
