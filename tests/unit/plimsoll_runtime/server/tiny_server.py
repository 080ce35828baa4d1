"""builtin://tiny behind the real app, for tests of what is told about its tokens."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fastapi import FastAPI

from plimsoll_runtime import builtin
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import load_tokenizer

# The model is too small to share among threads.
torch.set_num_threads(1)
FOLDER = builtin.path("tiny")
TOKENIZER = load_tokenizer(FOLDER)
SETTINGS = ServerSettings(served_names=("tiny",), root="builtin://tiny")


@contextmanager
def tiny_engine() -> Iterator[Engine]:
    """In fp32, with chunks and blocks so small that prompts take several."""
    options = EngineOptions(
        dtype="float32",
        device="cpu",
        threads=1,
        block_size=8,
        max_model_len=256,
        max_num_seqs=6,
        max_num_batched_tokens=20,
        kv_cache_memory_bytes=8 * 2**20,
    )
    engine = load_engine(FOLDER, options)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@contextmanager
def tiny_app(engine: Engine) -> Iterator[FastAPI]:
    """An app belongs to one event loop; an engine serves many, one after the other."""
    app = create_app(engine, TOKENIZER, SETTINGS)
    try:
        yield app
    finally:
        app.state.context.close()
