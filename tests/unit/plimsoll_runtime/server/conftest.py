"""A real engine around a model that says what the test wants, or around builtin://tiny."""

import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI

from plimsoll_runtime import builtin
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import Tokenizer, load_tokenizer
from tests.unit.plimsoll_runtime.server.refusals import NEIGHBOUR, Refused, refusals

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

MODEL = "tiny"
EOS = 5
VOCAB_SIZE = 2048
HIDDEN_SIZE = 8
MAX_MODEL_LEN = 256


@dataclass
class SpokenModel:
    """Answers with `token_ids` and then end-of-sequence, whatever it is asked.

    Clearing `gate` holds the model before its next step; `broken` makes every step raise.
    """

    token_ids: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    broken: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    def warm_up(self) -> None:
        """Nothing to warm."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        """The next token of the answer for every sequence that samples, and ones as vectors."""
        self.gate.wait()
        if self.broken:
            raise RuntimeError("the model is broken")
        sampled = {}
        for item in output.scheduled:
            if item.samples:
                index = item.output_index
                known = index < len(self.token_ids)
                sampled[item.request_id] = self.token_ids[index] if known else EOS
        ones = array("f", [1.0] * HIDDEN_SIZE).tobytes()
        pooled = {item.request_id: ones for item in output.scheduled if item.pooled}
        return StepResult(sampled, pooled=pooled)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return load_tokenizer(builtin.path(MODEL))


@pytest.fixture
def spoken() -> SpokenModel:
    return SpokenModel()


@pytest.fixture
def engine(spoken: SpokenModel) -> Iterator[Engine]:
    config = ModelConfig.from_hf(
        {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": HIDDEN_SIZE,
            "num_attention_heads": 1,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "vocab_size": VOCAB_SIZE,
            "eos_token_id": EOS,
        }
    )
    limits = EngineLimits(
        max_num_seqs=8,
        max_num_batched_tokens=64,
        max_model_len=MAX_MODEL_LEN,
        num_blocks=64,
        block_size=16,
    )
    engine = Engine(Scheduler(limits), spoken, config)
    engine.start()
    yield engine
    spoken.gate.set()
    engine.stop()


@pytest.fixture
def say(spoken: SpokenModel, tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """Sets what the model says; returns it as token ids."""

    def set_text(text: str) -> list[int]:
        spoken.token_ids = tokenizer.encode(text, add_special_tokens=False)
        return spoken.token_ids

    return set_text


@pytest.fixture
def settings() -> ServerSettings:
    return ServerSettings(served_names=("tiny", "alias"), root="builtin://tiny")


@pytest.fixture(scope="module")
def tiny_model() -> Iterator[Engine]:
    """builtin://tiny; see `tiny_server`."""
    from tests.unit.plimsoll_runtime.server.tiny_server import tiny_engine  # torch takes its time

    with tiny_engine() as engine:
        yield engine


@pytest.fixture
def tiny(tiny_model: Engine) -> Iterator[FastAPI]:
    """Its app. A module whose `http` shall reach it makes it its `app`."""
    from tests.unit.plimsoll_runtime.server.tiny_server import tiny_app

    with tiny_app(tiny_model) as app:
        yield app


@pytest.fixture(scope="session")
def oracle() -> "LlamaForCausalLM":
    """builtin://tiny as transformers computes it."""
    import torch
    from transformers import LlamaForCausalLM

    folder = builtin.path(MODEL)
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def app(engine: Engine, tokenizer: Tokenizer, settings: ServerSettings) -> Iterator[FastAPI]:
    app = create_app(engine, tokenizer, settings)
    yield app
    app.state.context.close()


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
async def refused(
    http: httpx.AsyncClient,
    app: FastAPI,
    engine: Engine,
    spoken: SpokenModel,
    say: Callable[[str], list[int]],
) -> AsyncIterator[Refused]:
    """See `refusals`."""
    async with refusals(http, app, engine, spoken.gate, say(NEIGHBOUR)) as send:
        yield send
