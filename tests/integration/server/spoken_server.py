"""`python spoken_server.py [--seconds-per-step S] [--fail-at-step N] [--shutdown-timeout S]
[--listen-while-draining S]`

The real server, engine and scheduler, in their two processes, around a model that only talks: it
can be slow or fail when the test wants it to.
"""

import argparse
import socket
import sys
import time

from plimsoll_runtime import builtin
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine import service
from plimsoll_runtime.engine.child import EngineProcess
from plimsoll_runtime.engine.engine import Engine
from plimsoll_runtime.engine.messages import Load, Loaded
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.remote import RemoteEngine
from plimsoll_runtime.server import process as server_process
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import load_tokenizer


class TalkingModel:
    """Says the same token for ever; every step from `fail_at_step` on raises."""

    def __init__(self, token_id: int, seconds_per_step: float, fail_at_step: int | None) -> None:
        self.token_id = token_id
        self.seconds_per_step = seconds_per_step
        self.fail_at_step = fail_at_step
        self.steps = 0

    def warm_up(self) -> None:
        """Nothing to warm."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        """One step."""
        self.steps += 1
        time.sleep(self.seconds_per_step)
        if self.fail_at_step is not None and self.steps >= self.fail_at_step:
            raise RuntimeError("the test wanted this step to fail")
        return StepResult(
            {each.request_id: self.token_id for each in output.scheduled if each.samples}
        )


def main() -> int:
    """Serves until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds-per-step", type=float, default=0.01)
    parser.add_argument("--fail-at-step", type=int)
    parser.add_argument("--shutdown-timeout", type=float, default=30)
    parser.add_argument("--listen-while-draining", type=float)
    parser.add_argument("--engine-socket", help="for the engine's process alone")
    arguments = parser.parse_args()
    if arguments.engine_socket is not None:
        service.main([arguments.engine_socket], lambda _: make_engine(arguments))
    if arguments.listen_while_draining is not None:
        server_process.LISTEN_WHILE_DRAINING = arguments.listen_while_draining
    this = [sys.executable, *sys.argv, "--engine-socket"]
    process = EngineProcess(Load("", EngineOptions()), this)
    engine = RemoteEngine(process, process.receive(Loaded))
    engine.start()
    settings = ServerSettings(("talking",), "test", shutdown_timeout=arguments.shutdown_timeout)
    app = create_app(engine, load_tokenizer(builtin.path("tiny")), settings)
    with socket.socket() as listener:
        # Small, so that a client that does not read is soon felt.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        ready = f"plimsoll: serving talking on http://127.0.0.1:{port} (test)"
        return server_process.serve(app, listener, lambda: print(ready, flush=True))  # noqa: T201


def make_engine(arguments: argparse.Namespace) -> Engine:
    """In the engine's process."""
    config = ModelConfig.from_hf(
        {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 8,
            "num_attention_heads": 1,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "vocab_size": 2048,
        }
    )
    limits = EngineLimits(8, 64, 1024, 256)
    word = load_tokenizer(builtin.path("tiny")).encode(" the", add_special_tokens=False)[0]
    model = TalkingModel(word, arguments.seconds_per_step, arguments.fail_at_step)
    return Engine(Scheduler(limits), model, config)


if __name__ == "__main__":
    sys.exit(main())
