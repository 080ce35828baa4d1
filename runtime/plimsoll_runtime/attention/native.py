"""Paged attention by the C++ kernels: one call a layer for all sequences of a step.

Where `PagedAttention` gathers, pads and masks, the kernels read pages where they lie and compute
what each token sees. A row's result depends on its query and on the keys and values that it sees,
and on nothing beside it.
"""

import ctypes
import enum

import torch
from torch import Tensor

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.metadata import AttentionMetadata
from plimsoll_runtime.kernels.library import InstructionSet, Kernels

MAX_HEAD_DIM = 256
BLOCK_TOKENS = 16
"""`kBlockTokens` in runtime/csrc/attention.h."""
DTYPES = (torch.float32, torch.bfloat16)
STEP_TENSORS = (
    ("query_start_loc", torch.int32),
    ("seq_lens", torch.int32),
    ("block_tables", torch.int64),
    ("slot_mapping", torch.int64),
)
"""What `PagedStep` points to, by its names in `AttentionMetadata`."""


class PagedStep(ctypes.Structure):
    """`PagedStep` in runtime/csrc/paged_step.h."""

    _fields_ = (
        ("pages", ctypes.c_void_p),
        ("layer_bytes", ctypes.c_int64),
        ("value_bytes", ctypes.c_int64),
        ("scales", ctypes.c_void_p),
        ("layer_scales", ctypes.c_int64),
        ("value_scales", ctypes.c_int64),
        ("block_size", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("head_dim", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("num_seqs", ctypes.c_int64),
        ("table_width", ctypes.c_int64),
        ("num_tokens", ctypes.c_int64),
        ("query_start_loc", ctypes.c_void_p),
        ("seq_lens", ctypes.c_void_p),
        ("block_tables", ctypes.c_void_p),
        ("slot_mapping", ctypes.c_void_p),
        ("scale", ctypes.c_float),
        ("is_bf16", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("instruction_set", ctypes.c_int32),
        ("format", ctypes.c_int32),
    )


def why_not_native(cache: KVCache) -> str | None:
    """What about a cache is beyond the kernels; None when nothing is."""
    pages = cache.pages
    if pages.device.type != "cpu":
        return f"the KV cache is on {pages.device.type}, and the kernels are for CPU"
    if cache.dtype not in DTYPES:
        return f"the KV cache is {cache.dtype}, and the kernels know float32 and bfloat16"
    head_dim = pages.shape[5]
    if head_dim > MAX_HEAD_DIM or head_dim % 2:
        return f"a head of {head_dim} dimensions is odd or above {MAX_HEAD_DIM}"
    return None


class PageFormat(enum.IntEnum):
    """How the kernels lay out a cache's pages; `PageFormat` in runtime/csrc/attention.h."""

    ROWS = 0
    BLOCKED = 1
    INT8_ROWS = 2
    INT8_BLOCKED = 3


def page_format(cache: KVCache) -> PageFormat:
    """What is blocked is read as it lies by the vector units; it takes blocks and heads of 16s."""
    whole = cache.block_size % BLOCK_TOKENS == 0 and cache.pages.shape[5] % BLOCK_TOKENS == 0
    if cache.scales is not None:
        return PageFormat.INT8_BLOCKED if whole else PageFormat.INT8_ROWS
    return PageFormat.BLOCKED if whole else PageFormat.ROWS


class NativeAttention:
    """The backend for CPU; see `Attention`. Computes in fp32, products in bf16 for a bf16 model.

    From a cache in int8 numbers go into the products as they are; scores and weights are multiplied
    by the scales.

    Raises ValueError for a cache or an instruction set that the kernels cannot use.
    """

    def __init__(
        self, cache: KVCache, kernels: Kernels, instruction_set: InstructionSet | None = None
    ) -> None:
        if (reason := why_not_native(cache)) is not None:
            raise ValueError(reason)
        chosen = kernels.best if instruction_set is None else instruction_set
        if chosen > kernels.best:
            raise ValueError(f"this processor has {kernels.best.name} at most, not {chosen.name}")
        pages = cache.pages
        scales = cache.scales
        if not pages.is_contiguous() or (scales is not None and not scales.is_contiguous()):
            raise ValueError("the pages of the KV cache and their scales must be contiguous")
        _, layers, _, self._block_size, self._kv_heads, self._head_dim = pages.shape
        self.cache = cache
        self.instruction_set = chosen
        self._num_layers = layers
        self._dtype = cache.dtype
        self._call = kernels.paged_attention
        self._step = PagedStep(
            pages=pages.data_ptr(),
            layer_bytes=pages.stride(1) * pages.itemsize,
            value_bytes=pages.stride(0) * pages.itemsize,
            scales=None if scales is None else scales.data_ptr(),
            layer_scales=0 if scales is None else scales.stride(1),
            value_scales=0 if scales is None else scales.stride(0),
            block_size=self._block_size,
            kv_heads=self._kv_heads,
            head_dim=self._head_dim,
            scale=self._head_dim**-0.5,
            is_bf16=cache.dtype == torch.bfloat16,
            instruction_set=chosen,
            format=page_format(cache),
        )
        self._address = ctypes.addressof(self._step)
        # Holds what the step points to.
        self._metadata: AttentionMetadata | None = None

    def plan(self, metadata: AttentionMetadata) -> None:
        """Notes where the step's sequences lie. Raises ValueError for tensors of another kind."""
        step, before = self._step, self._metadata
        self._metadata = None
        for name, dtype in STEP_TENSORS:
            tensor = getattr(metadata, name)
            if tensor is not getattr(before, name, None):
                _check(name, tensor, dtype)
                setattr(step, name, tensor.data_ptr())
        step.num_seqs = len(metadata.spans)
        step.table_width = metadata.block_tables.stride(0)
        step.num_tokens = metadata.slot_mapping.shape[0]
        step.threads = torch.get_num_threads()
        self._metadata = metadata

    def step_address(self, tokens: int, heads: int) -> int:
        """Where the planned step is, for kernels that call attention themselves.

        Raises ValueError when it has not as many tokens, or for heads that do not divide.
        """
        if tokens != self._step.num_tokens:
            raise ValueError(f"{tokens} tokens, and the step has {self._step.num_tokens}")
        self._check_heads(heads)
        self._step.heads = heads
        return self._address

    def forward(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Attention.forward`. Raises ValueError for tensors that do not fit the step."""
        tokens, heads, _ = query.shape
        if not 0 <= layer < self._num_layers:
            raise ValueError(f"layer {layer} of {self._num_layers}")
        self._check_heads(heads)
        self._check_rows("query", query, heads)
        self._check_rows("key", key, self._kv_heads)
        self._check_rows("value", value, self._kv_heads)
        out = torch.empty((tokens, heads, self._head_dim), dtype=self._dtype)
        self._step.heads = heads
        failed = self._call(
            self._address,
            layer,
            query.data_ptr(),
            query.stride(0),
            key.data_ptr(),
            key.stride(0),
            value.data_ptr(),
            value.stride(0),
            out.data_ptr(),
        )
        if failed:
            raise MemoryError("no memory for the states of a split context")
        return out

    def _check_heads(self, heads: int) -> None:
        if heads % self._kv_heads or not heads:
            raise ValueError(f"{heads} query heads do not divide among {self._kv_heads} KV heads")

    def _check_rows(self, name: str, x: Tensor, heads: int) -> None:
        shape = (self._step.num_tokens, heads, self._head_dim)
        if x.shape != shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, not {shape}")
        if x.dtype != self._dtype or x.device.type != "cpu":
            raise ValueError(
                f"{name} is {x.dtype} on {x.device.type}, and the KV cache {self._dtype} on cpu"
            )
        # Tokens may lie apart, as rows of a wider tensor; the heads of one must not.
        if x.stride(2) != 1 or (heads > 1 and x.stride(1) != self._head_dim):
            raise ValueError(f"the heads of {name} do not lie one after the other")


def _check(name: str, x: Tensor, dtype: torch.dtype) -> None:
    if x.dtype != dtype or x.device.type != "cpu" or (x.numel() and x.stride(-1) != 1):
        raise ValueError(f"{name} must be contiguous {dtype} on cpu, not {x.dtype} on {x.device}")
