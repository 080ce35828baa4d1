"""A small random Llama on disk, and ways to drive an engine that runs it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.speculation import SpeculativeConfig
from plimsoll_runtime.engine.drafts import Proposer
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.model.loader import load_model, read_model_config

# The model is too small to share among threads.
torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def oracle_and_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Oracle, Path]:
    """The model as transformers has it, and where it was saved."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=97,
        max_position_embeddings=128,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    folder = tmp_path_factory.mktemp("model")
    model = Oracle(config).eval()
    model.save_pretrained(folder)
    return model, folder


MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_runner(oracle_and_folder: tuple[Oracle, Path]) -> Callable[..., ModelRunner]:
    """A runner of the model in fp32 with a cache for the limits."""

    def make(
        limits: EngineLimits,
        proposer: Proposer | None = None,
        kv_cache_dtype: KVCacheDtype = KVCacheDtype.AUTO,
    ) -> ModelRunner:
        folder = oracle_and_folder[1]
        config = read_model_config(folder)
        model = load_model(folder, config, dtype=torch.float32, device=CPU, max_model_len=128)
        blocks, size = limits.num_blocks, limits.block_size
        cache = KVCache.allocate(config, blocks, size, torch.float32, CPU, kv_cache_dtype)
        return ModelRunner(model, cache, CPU, proposer=proposer)

    return make


@pytest.fixture
def make_engine(make_runner: Callable[..., ModelRunner]) -> Iterator[MakeEngine]:
    """`make_engine(max_num_seqs=…, runner=…)`; engines are stopped at the end of the test."""
    engines: list[Engine] = []

    def make(
        runner: object = None,
        seqs: int = 8,
        tokens: int = 32,
        model_len: int = 64,
        blocks: int = 64,
        speculation: SpeculativeConfig | None = None,
        proposer: Proposer | None = None,
        **options: object,
    ) -> Engine:
        limits = EngineLimits(seqs, tokens, model_len, blocks, 4)
        real = make_runner(limits, proposer)
        used = runner(real) if callable(runner) else real
        scheduler = Scheduler(limits, speculation=speculation)
        engine = Engine(scheduler, used, real.model.config, **options)  # type: ignore[arg-type]
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
def greedy(oracle_and_folder: tuple[Oracle, Path]) -> Callable[[list[int], int], list[int]]:
    """`greedy(prompt, count)`: what transformers generates, without a stop."""

    @torch.inference_mode()
    def generate(prompt: list[int], count: int) -> list[int]:
        tokens = prompt.copy()
        for _ in range(count):
            logits = oracle_and_folder[0](torch.tensor([tokens])).logits
            tokens.append(int(logits[0, -1].argmax()))
        return tokens[len(prompt) :]

    return generate
