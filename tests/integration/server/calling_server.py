"""`python calling_server.py TEXT [--seconds-per-step S]`

The real server, engine and scheduler, in their two processes, around a model that answers TEXT,
under a chat template with tools as Qwen and Hermes have it.
"""

import argparse
import socket
import sys
import time
from dataclasses import replace

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
from plimsoll_runtime.server.app import create_app
from plimsoll_runtime.server.chat_template import ChatTemplate
from plimsoll_runtime.server.process import serve
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.tokenizer import load_tokenizer

EOS = 5
TEMPLATE = """
{%- if tools %}{{- 'tools: ' ~ (tools | tojson) ~ ' as <tool_call>' }}{% endif -%}
{%- for message in messages -%}
{{- '<|' ~ message.role ~ '|>' ~ message.content -}}
{%- for call in message.tool_calls or [] %}{{- call.function | tojson }}{% endfor -%}
{%- endfor -%}
"""


class AnsweringModel:
    """Says `token_ids` and then end-of-sequence."""

    def __init__(self, token_ids: list[int], seconds_per_step: float) -> None:
        self.token_ids = token_ids
        self.seconds_per_step = seconds_per_step

    def warm_up(self) -> None:
        """Nothing to warm."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        """One step."""
        time.sleep(self.seconds_per_step)
        said = [*self.token_ids, EOS]
        return StepResult(
            {
                each.request_id: said[min(each.output_index, len(said) - 1)]
                for each in output.scheduled
                if each.samples
            }
        )


def main() -> int:
    """Serves until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--seconds-per-step", type=float, default=0.002)
    parser.add_argument("--engine-socket", help="for the engine's process alone")
    arguments = parser.parse_args()
    tokenizer = replace(load_tokenizer(builtin.path("tiny")), chat_template=ChatTemplate(TEMPLATE))
    if arguments.engine_socket is not None:
        said = tokenizer.encode(arguments.text, add_special_tokens=False)
        model = AnsweringModel(said, arguments.seconds_per_step)
        service.main([arguments.engine_socket], lambda _: make_engine(model))
    process = EngineProcess(
        Load("", EngineOptions()), [sys.executable, *sys.argv, "--engine-socket"]
    )
    engine = RemoteEngine(process, process.receive(Loaded))
    engine.start()
    app = create_app(engine, tokenizer, ServerSettings(("calling",), "test"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        ready = f"plimsoll: serving calling on http://127.0.0.1:{port} (test)"
        return serve(app, listener, lambda: print(ready, flush=True))  # noqa: T201


def make_engine(model: AnsweringModel) -> Engine:
    """In the engine's process."""
    config = ModelConfig.from_hf(
        {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 8,
            "num_attention_heads": 1,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "vocab_size": 2048,
            "eos_token_id": EOS,
        }
    )
    return Engine(Scheduler(EngineLimits(8, 64, 1024, 256)), model, config)


if __name__ == "__main__":
    sys.exit(main())
