"""What every route shares."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from plimsoll_runtime.engine.grammar_trial import GrammarTrial
from plimsoll_runtime.engine.handle import EngineHandle
from plimsoll_runtime.server.admission import Admission
from plimsoll_runtime.server.engine_client import EngineClient
from plimsoll_runtime.server.errors import APIError
from plimsoll_runtime.server.frontend_work import FrontendWork
from plimsoll_runtime.server.lifecycle import Lifecycle
from plimsoll_runtime.server.metrics import Metrics
from plimsoll_runtime.server.settings import ServerSettings
from plimsoll_runtime.server.token_text import TokenText
from plimsoll_runtime.server.tokenizer import Tokenizer
from plimsoll_runtime.server.validation import ModelLimits

T = TypeVar("T")

INLINE_CHARACTERS = 4096
"""Text up to this long is tokenized on the event loop: a thread's hand-over would cost more."""
WORKERS = 2


class Context:
    """The parts of a running server, reached through `context_of(request)`."""

    def __init__(
        self,
        engine: EngineHandle,
        tokenizer: Tokenizer,
        settings: ServerSettings,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.settings = settings
        self.lifecycle = lifecycle or Lifecycle()
        self.work = FrontendWork()
        self.metrics = Metrics(engine, settings.name)
        admission = Admission(engine, settings.admission, self.metrics, self.lifecycle)
        self.client = EngineClient(engine, admission=admission, work=self.work)
        vocab_size = engine.model_config.vocab_size
        eos = {*engine.model_config.eos_token_ids, *tokenizer.eos_token_ids}
        self.limits = ModelLimits(
            max_model_len=engine.limits.max_model_len,
            vocab_size=vocab_size,
            eos_token_ids=frozenset(each for each in eos if 0 <= each < vocab_size),
        )
        self.token_text = TokenText(tokenizer)
        self.grammars = GrammarTrial(tokenizer.hf.to_str, vocab_size, self.limits.eos_token_ids)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="plimsoll-tokenize")
        # Apart from the others: a grammar may take seconds, and one is tried after the other.
        self._trials = ThreadPoolExecutor(1, thread_name_prefix="plimsoll-grammar")

    def check_model(self, name: str | None) -> None:
        """Raises APIError 404 unless `name` is served; none stands for the served one."""
        if name and name not in self.settings.served_names:
            raise APIError(
                404,
                f"the model {name!r} does not exist here; served: "
                f"{', '.join(self.settings.served_names)}",
                param="model",
                code="model_not_found",
            )

    async def run_text(self, work: Callable[[], T], size: int) -> T:
        """Runs work on `size` characters of text, on a worker thread when that is long."""
        if size <= INLINE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    async def run_trial(self, work: Callable[[], T]) -> T:
        """Runs work that tries out a grammar on the thread for that."""
        return await asyncio.get_running_loop().run_in_executor(self._trials, work)

    def close(self) -> None:
        """Ends the worker threads and the process that tries out grammars."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._trials.shutdown(wait=False, cancel_futures=True)
        self.grammars.close()


def context_of(request: Request) -> Context:
    """The context of the app that `request` came to."""
    context = request.app.state.context
    if not isinstance(context, Context):
        raise TypeError("the app was not made by create_app")
    return context
