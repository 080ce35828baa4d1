"""Real engines without a model, and their real admin ports on addresses of the loopback."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from plimsoll_runtime import builtin
from plimsoll_runtime.core.limits import EngineLimits, LiveLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.request import Request, SamplingParams
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.process import AdminServer
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import load_tokenizer


class Idle:
    """A model that nobody asks."""

    def warm_up(self) -> None:
        """Nothing to warm."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        raise NotImplementedError


class Watched(Engine):
    """An engine that notes which limits it was sent."""

    def __init__(self, limits: EngineLimits) -> None:
        shape = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
        facts = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "vocab_size": 2048}
        super().__init__(Scheduler(limits), Idle(), ModelConfig.from_hf({**shape, **facts}))
        self.changes: list[LiveLimits] = []

    def set_limits(self, live: LiveLimits) -> None:
        super().set_limits(live)
        self.changes.append(live)

    @property
    def live(self) -> LiveLimits:
        return self.stats().limits

    def by_hand(self, live: LiveLimits) -> None:
        """Changes limits without taking note."""
        super().set_limits(live)

    def wait_for(self, count: int) -> None:
        """So many requests wait, as long as nobody starts the engine."""
        for number in range(count):
            sampling = SamplingParams(max_tokens=4)
            self.submit(Request(f"r{number}", [9] * 4, sampling, time.monotonic()), print)

    def finish(self) -> None:
        """What waits is aborted."""
        for request_id in list(self._callbacks):
            self.abort(request_id)
        self.start()
        while self.stats().num_waiting:
            time.sleep(0.001)


@asynccontextmanager
async def admin_ports(engines: Sequence[Engine]) -> AsyncIterator[tuple[int, list[Context]]]:
    """The port of all of them, on 127.0.0.1, 127.0.0.2, ..., and their contexts."""
    settings = ServerSettings(served_names=("tiny",), root="builtin://tiny")
    tokenizer = load_tokenizer(builtin.path("tiny"))
    contexts = [Context(engine, tokenizer, settings) for engine in engines]
    port, servers, tasks = 0, [], []
    for number, context in enumerate(contexts, 1):
        listener = socket.create_server((f"127.0.0.{number}", port))
        port = int(listener.getsockname()[1])
        servers.append(AdminServer(context))
        tasks.append(asyncio.create_task(servers[-1].serve([listener])))
    yield port, contexts
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
    for context in contexts:
        context.close()
