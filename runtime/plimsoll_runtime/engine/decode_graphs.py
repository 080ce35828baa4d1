"""Decode steps as CUDA graphs: all kernels of a step in one launch, over inputs that stay in place.

A step is padded to the next captured batch size. Padding is a sequence of one token in the null
block, which no other sequence reads.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import AttentionMetadata, SequenceSpan, build_metadata
from plimsoll_runtime.attention.paged import Attention
from plimsoll_runtime.core.cuda_graphs import WORKSPACE_BYTES, graph_bytes, graph_size
from plimsoll_runtime.engine.rank_channel import Step
from plimsoll_runtime.model.llama import LlamaForCausalLM

logger = logging.getLogger(__name__)

CAPTURE_SECONDS = 30.0
"""After so long no further batch size is begun."""
TOLERANCE = {torch.bfloat16: 2.0**-4, torch.float32: 2.0**-12}
"""Of a row's hidden state, relative to its length: padded products may sum in another order."""
PREFIX_BLOCKS = 3
HOST = torch.device("cpu")


class Recorder(Protocol):
    """Makes a graph of what a function launches."""

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Runs `compute` at least once; the result launches the same again, on the same memory."""

    def memory_taken(self) -> int:
        """Bytes that all records so far have taken."""


class StaticInputs:
    """What graphs read, in the same memory in every step.

    For `seqs` sequences of at most `max_model_len` tokens. The tensors are as `AttentionMetadata`
    has them; `token_ids` is `[seqs]` int64. They begin as padding.
    """

    def __init__(self, seqs: int, max_model_len: int, cache: KVCache) -> None:
        device = cache.pages.device
        self._block_size, self._null_block = cache.block_size, cache.num_blocks
        self._padding = SequenceSpan(0, 1, [cache.num_blocks])
        self._width = -(-max_model_len // cache.block_size)
        tables = (seqs, self._width)
        self.token_ids = torch.zeros(seqs, dtype=torch.int64, device=device)
        self._seq_lens = torch.ones(seqs, dtype=torch.int32, device=device)
        self._slot_mapping = torch.full((seqs,), cache.null_slot, device=device)
        self._block_tables = torch.full(tables, cache.num_blocks, device=device)
        self._query_start_loc = torch.arange(seqs + 1, dtype=torch.int32, device=device)

    def metadata(self, size: int) -> AttentionMetadata:
        """The first `size` sequences. `spans` says only that each has one new token."""
        return AttentionMetadata(
            spans=(self._padding,) * size,
            query_start_loc=self._query_start_loc[: size + 1],
            seq_lens=self._seq_lens[:size],
            block_tables=self._block_tables[:size],
            positions=self._seq_lens[:size].long() - 1,
            slot_mapping=self._slot_mapping[:size],
        )

    def fill(self, step: Step, size: int) -> None:
        """A step in which each sequence has one new token, and padding up to `size`.

        Of the block tables it writes as many columns as the step has: beyond them nothing is read.
        """
        padding = size - len(step.spans)
        spans = [*step.spans, *[self._padding] * padding]
        host = build_metadata(spans, self._block_size, self._null_block, HOST)
        tables = host.block_tables[:, : self._width]
        # From pageable memory a copy has read its source when it returns.
        copy = partial(Tensor.copy_, non_blocking=True)
        copy(self.token_ids[:size], torch.tensor([*step.token_ids, *[0] * padding]))
        copy(self._seq_lens[:size], host.seq_lens)
        copy(self._slot_mapping[:size], host.slot_mapping)
        copy(self._block_tables[:size, : tables.shape[1]], tables)


@dataclass(frozen=True)
class _Graph:
    """`attention` holds memory that the graph reads."""

    replay: Callable[[], None]
    attention: Attention


class DecodeGraphs:
    """Graphs of a model over a cache, by batch size. All calls are in inference mode.

    `make_attention` makes a backend for a step whose shapes are fixed and whose lengths are read
    from the device.
    """

    def __init__(
        self,
        model: LlamaForCausalLM,
        cache: KVCache,
        recorder: Recorder,
        make_attention: Callable[[], Attention],
        sizes: Sequence[int],
    ) -> None:
        self._model = model
        self._cache = cache
        self._recorder = recorder
        self._make_attention = make_attention
        self._wanted = sorted(sizes, reverse=True)
        self._inputs = StaticInputs(self._wanted[0], len(model.rotations), cache)
        weight = model.norm.weight
        shape = self._wanted[0], model.config.hidden_size
        self._hidden = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self._graphs: dict[int, _Graph] = {}
        self.sizes: tuple[int, ...] = ()
        """The batch sizes there are graphs of, ascending."""
        self.description = "no CUDA graphs"
        """What was captured and what it took, for people."""

    def capture(
        self, eager: Callable[[Step], Tensor], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes the graphs, the largest first, whose memory the others then use.

        Each is held against `eager`, which gives the hidden states of a step; one that differs is
        left out. It uses blocks of the cache, so it runs before requests come. Raises whatever a
        capture raises, and stops early when time or memory is used up.
        """
        started = clock()
        budget = graph_bytes(self._model.config.num_layers) + WORKSPACE_BYTES
        prefix = min(PREFIX_BLOCKS, self._cache.num_blocks // 2, self._last_block)
        for size in self._wanted:
            if clock() - started > CAPTURE_SECONDS or self._recorder.memory_taken() > budget:
                logger.warning("there was no time or memory left for graphs up to size %d", size)
                break
            attention = self._make_attention()
            attention.plan(self._inputs.metadata(size))
            self._inputs.fill(Step([], [], [], []), size)
            replay = self._recorder.record(partial(self._compute, size, attention))
            self._graphs[size] = _Graph(replay, attention)
            if not self._agrees(size, prefix, eager):
                logger.warning(
                    "the CUDA graph of batch size %d does not give what its kernels give one by "
                    "one, and is not used",
                    size,
                )
                del self._graphs[size]
        self.sizes = tuple(sorted(self._graphs))
        if self.sizes:
            self.description = (
                f"CUDA graphs of {len(self.sizes)} batch sizes up to {self.sizes[-1]} "
                f"({clock() - started:.1f} s, {self._recorder.memory_taken() >> 20} MiB)"
            )

    def run(self, step: Step) -> Tensor | None:
        """Hidden states `[sequences, hidden]`, to be used before the next step; None where there is
        no graph for it."""
        size = graph_size((span.query_len for span in step.spans), self.sizes)
        return None if size is None else self._replay(step, size)

    @property
    def _last_block(self) -> int:
        """The last block of a sequence that is as long as one may be."""
        return (len(self._model.rotations) - 1) // self._cache.block_size

    def _replay(self, step: Step, size: int) -> Tensor:
        self._inputs.fill(step, size)
        self._graphs[size].replay()
        return self._hidden[: len(step.spans)]

    def _compute(self, size: int, attention: Attention) -> None:
        metadata = self._inputs.metadata(size)
        token_ids = self._inputs.token_ids[:size]
        self._hidden[:size] = self._model.hidden_states(token_ids, metadata.positions, attention)

    def _agrees(self, size: int, prefix: int, eager: Callable[[Step], Tensor]) -> bool:
        prompt, decode = probe(
            size,
            prefix,
            self._cache.num_blocks,
            self._cache.block_size,
            self._model.config.vocab_size,
        )
        if prompt.spans:
            eager(prompt)
        found = self._replay(decode, size).float()
        expected = eager(decode).float()
        error = (found - expected).norm(dim=1) / expected.norm(dim=1)
        return bool((error <= TOLERANCE[self._hidden.dtype]).all())


def probe(
    size: int, prefix: int, num_blocks: int, block_size: int, vocab_size: int
) -> tuple[Step, Step]:
    """A prompt of `prefix` blocks, empty without any, and a decode for the graph of `size`.

    Each sequence goes on after another number of the prompt's blocks, in a block of its own. There
    is padding where `size` is 4 or more, or there are few blocks. Tokens differ from size to
    size, so that nothing in the cache is right already.
    """
    prompt = [7 * position % vocab_size for position in range(prefix * block_size)]
    spans = [SequenceSpan(0, len(prompt), range(prefix))] if prefix else []
    count = min(size - size // 4, num_blocks - prefix)
    tables = [[*range(row % (prefix + 1)), prefix + row] for row in range(count)]
    return (
        Step(prompt, spans, [], []),
        Step(
            [(31 * row + size) % vocab_size for row in range(count)],
            [SequenceSpan((len(table) - 1) * block_size, 1, table) for table in tables],
            list(range(count)),
            [],
        ),
    )
