"""Engines of several ranks, and the processes that these are."""

import dataclasses
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from plimsoll_runtime.core.request import (
    Request,
    RequestOutput,
    SamplingParams,
)
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.loader import load_engine
from plimsoll_runtime.engine.options import EngineOptions

RANK = "plimsoll_runtime.engine.rank"
TIMEOUT = 60.0
GQA = {"num_key_value_heads": 2, "tie_word_embeddings": False, "attention_bias": True}
Box = "queue.Queue[RequestOutput]"
Load = Callable[..., Engine]


class Question(NamedTuple):
    """A prompt and how to answer it."""

    prompt: list[int]
    sampling: SamplingParams


def save(folder: Path, **shape: object) -> Path:
    """A random model whose vocabulary divides by nothing."""
    torch.manual_seed(7)
    config = LlamaConfig(
        **{  # type: ignore[arg-type]
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 97,
            "max_position_embeddings": 128,
            "initializer_range": 0.3,
            "bos_token_id": 0,
            "eos_token_id": 1,
            **shape,
        }
    )
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    return folder


@contextmanager
def loading() -> Iterator[Load]:
    """`load(folder, size, option=…)`: a started engine in fp32."""
    engines: list[Engine] = []

    def make(folder: Path, size: int, **options: object) -> Engine:
        fixed = EngineOptions(dtype="float32", device="cpu", threads=1, tensor_parallel_size=size)
        engine = load_engine(folder, dataclasses.replace(fixed, **options))  # type: ignore[arg-type]
        engines.append(engine)
        engine.start()
        return engine

    yield make
    for engine in engines:
        engine.stop()


def submit(engine: Engine, number: int, question: Question) -> Box:
    box: queue.Queue[RequestOutput] = queue.Queue()
    request = Request(str(number), question.prompt, question.sampling, float(number))
    engine.submit(request, box.put)
    return box


def ranks_below(pid: int) -> list[int]:
    """Rank processes among the descendants of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_text()
            found += ([child] if RANK in command else []) + ranks_below(child)
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone before or while it is read
        return False


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
