"""Tries out grammars in a process of their own: some schemas take for ever to compile.

`python -m plimsoll_runtime.engine.grammar_trial` is that process. It reads JSON lines, first
`{"tokenizer", "vocab_size", "eos_token_ids"}`, then grammars; it answers each with a line, an error
or null. The kernel ends it when a grammar takes more than `CPU_SECONDS` or `MEMORY_BYTES`.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b

from plimsoll_runtime.engine.grammar import GrammarCompiler, GrammarError

CPU_SECONDS = 2.0
MEMORY_BYTES = 4 * 2**30
MAX_KNOWN = 1024
"""Grammars that are remembered to be good."""
TOO_MUCH = "it takes too much time or memory to compile"


class GrammarTrial:
    """Says whether the engine will be able to compile a grammar. Thread-safe.

    The process starts at the first grammar, and again after one that ended it.
    """

    def __init__(
        self, read_tokenizer: Callable[[], str], vocab_size: int, eos_token_ids: Iterable[int]
    ) -> None:
        self._read_tokenizer = read_tokenizer
        self._vocab_size = vocab_size
        self._eos_token_ids = sorted(eos_token_ids)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def check(self, grammar: str) -> None:
        """Raises GrammarError with the reason when it cannot be compiled. May take seconds."""
        digest = blake2b(grammar.encode()).digest()
        with self._lock:
            if digest not in self._known:
                error = self._ask(grammar)
                if error is not None:
                    raise GrammarError(error)
                self._known[digest] = None
                if len(self._known) > MAX_KNOWN:
                    self._known.popitem(last=False)
            self._known.move_to_end(digest)

    def close(self) -> None:
        """Ends the process; a grammar that is being tried out is an error."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()  # whoever waits for its answer holds the lock
        with self._lock:
            self._end()

    def _ask(self, grammar: str) -> str | None:
        try:
            if self._process is None:
                self._start()
            return self._exchange(grammar)
        except (OSError, ValueError):
            self._end()
            return TOO_MUCH

    def _start(self) -> None:
        if self._closed:
            raise OSError("closed")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "plimsoll_runtime.engine.grammar_trial"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the server
            text=True,
            encoding="utf-8",
        )
        tokenizer = {
            "tokenizer": self._read_tokenizer(),
            "vocab_size": self._vocab_size,
            "eos_token_ids": self._eos_token_ids,
        }
        self._send(tokenizer)

    def _exchange(self, grammar: str) -> str | None:
        self._send(grammar)
        if self._process is None or self._process.stdout is None:
            raise OSError("not started")
        answer: str | None = json.loads(self._process.stdout.readline())
        return answer

    def _send(self, value: object) -> None:
        if self._process is None or self._process.stdin is None:
            raise OSError("not started")
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what it had not read yet


def main() -> None:
    """Answers grammars until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = json.loads(sys.stdin.readline())
    compiler = GrammarCompiler(
        lambda: str(given["tokenizer"]), given["vocab_size"], given["eos_token_ids"]
    )
    compiler.load()
    for line in sys.stdin:
        # No handler: the signal's own action ends the process, also in the middle of Rust.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        error = None
        try:
            compiler.compile(json.loads(line))
        except GrammarError as reason:
            error = str(reason)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(error) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
