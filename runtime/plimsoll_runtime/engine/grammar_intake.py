"""Compiles the grammars of requests before the scheduler sees these, so that no step waits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.engine.grammar import GrammarCompiler, GrammarError


class GrammarIntake:
    """One thread that compiles, where that may take its time. Without `compiler` it refuses all."""

    def __init__(self, compiler: GrammarCompiler | None) -> None:
        self._compiler = compiler
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plimsoll-grammar")

    def check(self, sampling: SamplingParams) -> None:
        """Raises ValueError when no step could follow the request's grammar."""
        if self._compiler is None:
            raise ValueError("this engine has no tokenizer to follow a grammar with")
        missing = self._compiler.eos_token_ids - sampling.stop_token_ids
        if missing:
            raise ValueError(
                f"a request with a grammar must stop at the model's end-of-sequence tokens; "
                f"stop_token_ids lacks {min(missing)}"
            )

    def compile(self, grammar: str, then: Callable[[], None]) -> None:
        """Calls `then`, on the thread, once the grammar is compiled or turned out to be wrong.

        Raises RuntimeError after `close`.
        """
        self._thread.submit(self._compile, grammar, then)

    def close(self) -> None:
        """Drops what waits to be compiled."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compile(self, grammar: str, then: Callable[[], None]) -> None:
        try:
            if self._compiler is not None:
                self._compiler.prepare(grammar)
        except GrammarError:
            pass  # the step that would follow the grammar says so
        finally:
            then()
