"""An engine's process that is only a socket, at whose other end the test sits."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput, SamplingParams
from plimsoll_runtime.engine.channel import Channel
from plimsoll_runtime.engine.child import EngineProcess
from plimsoll_runtime.engine.messages import Loaded, Ready, ToEngine, decode_to_engine
from plimsoll_runtime.engine.remote import RemoteEngine
from plimsoll_runtime.engine.stats import EngineStats

CONFIG = ModelConfig.from_hf(
    {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "vocab_size": 97,
    }
)
LIMITS = EngineLimits(8, 32, 64, 64, 4)
STATS = EngineStats(0, 0, 0.0, 64, 4, 0, 0, 0, 0, 0.0, 0.0, (), LIMITS.live, (), None)
LOADED = Loaded(LIMITS, CONFIG, STATS)
STOPPED = RequestOutput("a", (5,), FinishReason.STOP)


class PlayedProcess(EngineProcess):
    """A process that is only a socket; the test sits at its other end, `peer`."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        theirs.settimeout(5)
        self.channel = Channel(ours)
        self.peer = Channel(theirs)
        self.dead = False
        self.killed = False

    @property
    def ended(self) -> bool:
        return self.dead

    def wait(self, seconds: float) -> bool:
        return self.dead

    def kill(self) -> None:
        self.dead = self.killed = True

    def describe_end(self) -> str:
        return "was played"

    def next(self) -> ToEngine:
        payload = self.peer.receive()
        assert payload is not None
        return decode_to_engine(payload)

    def silent(self) -> bool:
        """Whether nothing was sent that `next` has not returned."""
        self.peer.socket.setblocking(False)
        try:
            self.peer.read()
        except BlockingIOError:
            return True
        finally:
            self.peer.socket.settimeout(5)
        return False


@contextmanager
def played() -> Iterator[PlayedProcess]:
    """One whose sockets are closed in the end."""
    process = PlayedProcess()
    yield process
    process.channel.socket.close()
    process.peer.socket.close()


def serving(process: PlayedProcess) -> RemoteEngine:
    """An engine that is ready, and attached to the loop that runs."""
    process.peer.send(LOADED)
    engine = RemoteEngine(process, process.receive(Loaded))
    process.peer.send(Ready())
    engine.start()
    engine.attach(asyncio.get_running_loop())
    return engine


def request(name: str = "a", prompt: list[int] | None = None, **sampling: Any) -> Request:
    return Request(name, prompt or [1, 2], SamplingParams(**({"max_tokens": 9} | sampling)), 0.0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
