"""Which attention an engine uses."""

import logging

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.native import NativeAttention, why_not_native
from plimsoll_runtime.attention.paged import Attention, PagedAttention
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.kernels.library import KernelsUnavailableError, load_kernels

logger = logging.getLogger(__name__)

COST = "attention in torch is several times slower on CPU, the longer the contexts the more"


def choose_attention(cache: KVCache, backend: AttentionBackend) -> Attention:
    """Attention over `cache`: `AUTO` is the CPU kernels where there are any, and says so if not.

    On GPUs `AUTO` is torch until the Triton kernel has been measured on one. Raises ValueError
    when `NATIVE` or `TRITON` is asked for in vain.
    """
    if backend is AttentionBackend.TORCH:
        return PagedAttention(cache)
    if backend is AttentionBackend.TRITON:
        return _triton(cache)
    reason = why_not_native(cache)
    if reason is None:
        try:
            return NativeAttention(cache, load_kernels())
        except KernelsUnavailableError as error:
            reason = str(error)
    if backend is AttentionBackend.NATIVE:
        raise ValueError(f"the native attention backend cannot be used: {reason}")
    if cache.pages.device.type == "cpu":
        logger.warning("no CPU kernels: %s. Until then %s", reason, COST)
    return PagedAttention(cache)


def _triton(cache: KVCache) -> Attention:
    device = cache.pages.device.type
    if device != "cuda":
        raise ValueError(f"the triton attention backend is for GPUs, and the cache is on {device}")
    try:
        # Here, since there is no Triton for every platform.
        from plimsoll_runtime.attention.triton_paged import TritonAttention
    except ModuleNotFoundError as error:
        raise ValueError(f"the triton attention backend needs {error.name}: install it") from error
    return TritonAttention(cache)


def describe(attention: Attention) -> str:
    """The path that runs, for people."""
    if isinstance(attention, NativeAttention):
        return f"native ({attention.instruction_set.name})"
    return "torch" if isinstance(attention, PagedAttention) else "triton"
