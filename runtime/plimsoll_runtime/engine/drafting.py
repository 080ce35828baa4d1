"""From options to who drafts, with what a draft model takes beside the large one."""

from pathlib import Path

import torch

from plimsoll_runtime.attention.kv_cache import KVCache, bytes_per_block
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.engine.draft_model import DraftModel
from plimsoll_runtime.engine.drafts import Proposer
from plimsoll_runtime.engine.ngram import NgramProposer
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.loader import load_model, read_model_config


class Drafting:
    """Who drafts for an engine, if anybody: made in steps, as the engine itself is loaded.

    Raises UnsupportedModelError for a draft model that cannot be run, and ValueError for one whose
    vocabulary is not that of `target`. It is on rank 0 alone: drafts go into a step before other
    ranks are told of it.
    """

    def __init__(self, config: SpeculativeConfig | None, target: ModelConfig) -> None:
        self._config = config
        self._model: LlamaForCausalLM | None = None
        self._model_config: ModelConfig | None = None
        if config is not None and config.model is not None:
            self._folder = Path(config.model)
            self._model_config = read_model_config(self._folder)
            own, other = self._model_config.vocab_size, target.vocab_size
            if own != other:
                raise ValueError(
                    f"the draft model {config.model} has a vocabulary of {own} tokens and the "
                    f"model one of {other}: drafts must be in the model's own tokens"
                )

    def block_bytes(
        self,
        block_size: int,
        dtype: torch.dtype,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
    ) -> int:
        """What a block of KV cache takes beyond the large model's."""
        if self._model_config is None:
            return 0
        return bytes_per_block(self._model_config, block_size, dtype, kv_cache_dtype)

    def load(self, dtype: torch.dtype, device: torch.device, max_model_len: int) -> None:
        """Reads the draft model's weights. Raises WeightsError when they do not match."""
        if self._model_config is not None:
            self._model = load_model(
                self._folder,
                self._model_config,
                dtype=dtype,
                device=device,
                max_model_len=max_model_len,
            )

    def proposer(  # noqa: PLR0913, PLR0917 - as of the large model's cache
        self,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        attention_backend: AttentionBackend = AttentionBackend.AUTO,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
    ) -> Proposer | None:
        """Who drafts, with a KV cache of its own where that takes one."""
        if self._config is None:
            return None
        if self._model is None:
            return NgramProposer(self._config)
        cache = KVCache.allocate(
            self._model.config, num_blocks, block_size, dtype, device, kv_cache_dtype
        )
        for _ in cache.take_memory():
            pass
        return DraftModel(self._model, cache, device, attention_backend)
