"""Grammars that an answer must follow, compiled by llguidance; which tokens may come next."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_REASON = 200
"""Characters of a message that may quote the client's schema."""
MAX_PREPARED = 32
"""Compiled grammars that wait for their answer to begin; beyond, the oldest is compiled again."""

# Fuel is work: at tens of thousands of units a millisecond, compiling takes at most some tens of
# milliseconds and a step's mask some ten, whatever the grammar. A lexer's state has 1 to 2 kB.
INITIAL_LEXER_FUEL = 1_000_000
STEP_LEXER_FUEL = 200_000
STEP_MAX_ITEMS = 50_000
MAX_LEXER_STATES = 20_000
MAX_GRAMMAR_SIZE = 200_000


class GrammarError(ValueError):
    """The grammar cannot be followed; the message is fit for the client."""


class GrammarCompiler:
    """Compiles grammars for one tokenizer, anew for every answer. Thread-safe.

    The library's copies of a compiled grammar share its lexer, whose states have a bound: one
    answer that uses them up would end all others that follow the same grammar, now and later.

    `read_tokenizer` gives the text of tokenizer.json; it is called at the first grammar, which can
    take a second. `eos_token_ids` are what may come where a grammar may end.
    """

    def __init__(
        self, read_tokenizer: Callable[[], str], vocab_size: int, eos_token_ids: Iterable[int]
    ) -> None:
        self.vocab_size = vocab_size
        self.eos_token_ids = frozenset(each for each in eos_token_ids if 0 <= each < vocab_size)
        self._read_tokenizer = read_tokenizer
        self._tokenizer: LLTokenizer | None = None
        self._prepared: deque[tuple[str, LLMatcher]] = deque(maxlen=MAX_PREPARED)
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()

    def prepare(self, grammar: str) -> None:
        """Compiles, so that one `compile` of the same grammar returns at once.

        Raises GrammarError.
        """
        with self._one_at_a_time:
            matcher = self._compile(grammar)
        with self._lock:
            self._prepared.append((grammar, matcher))

    def compile(self, grammar: str) -> "GrammarState":
        """An answer's state before its first token. Raises GrammarError."""
        matcher = self._take_prepared(grammar)
        if matcher is None:
            with self._one_at_a_time:
                matcher = self._compile(grammar)
        return GrammarState(matcher)

    def load(self) -> None:
        """Reads the tokenizer now. A fault in it is told by `compile`."""
        with self._one_at_a_time:
            try:
                self._tokenizer = self._load()
            except GrammarError:
                self._tokenizer = None

    def _take_prepared(self, grammar: str) -> LLMatcher | None:
        with self._lock:
            for index, (text, matcher) in enumerate(self._prepared):
                if text == grammar:
                    del self._prepared[index]
                    return matcher
        return None

    def _compile(self, grammar: str) -> LLMatcher:
        if self._tokenizer is None:
            self._tokenizer = self._load()
        limits = LLParserLimits(
            initial_lexer_fuel=INITIAL_LEXER_FUEL,
            step_lexer_fuel=STEP_LEXER_FUEL,
            step_max_items=STEP_MAX_ITEMS,
            max_lexer_states=MAX_LEXER_STATES,
            max_grammar_size=MAX_GRAMMAR_SIZE,
            verbose_errors=False,
        )
        try:
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
            # Some faults show only when the first token is asked for.
            trial = matcher.deep_copy()
            trial.compute_bitmask()
        except BaseException as error:
            raise GrammarError(_panic(error)) from error
        for each in (matcher, trial):
            if each.is_error():
                raise GrammarError(_first_line(each.get_error()))
        return matcher

    def _load(self) -> LLTokenizer:
        if not self.eos_token_ids:
            raise GrammarError("the model has no end-of-sequence token to end an answer with")
        try:
            text = self._read_tokenizer()
            return LLTokenizer(text, n_vocab=self.vocab_size, eos_token=sorted(self.eos_token_ids))
        except (ValueError, OSError) as error:
            raise GrammarError(
                f"the model's tokenizer does not go with grammars: {_first_line(str(error))}"
            ) from error


class GrammarState:
    """Where one answer is in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.num_taken = 0
        self._matcher = matcher
        self._panic: str | None = None

    @property
    def error(self) -> str | None:
        """Why the grammar cannot be followed any further, else None."""
        if self._panic is None and self._matcher.is_error():
            return _first_line(self._matcher.get_error())
        return self._panic

    def take(self, token_ids: list[int]) -> None:
        """Goes on by the answer's next tokens; one that the grammar does not allow is an error."""
        self.num_taken += len(token_ids)
        if token_ids:
            try:
                self._matcher.consume_tokens(token_ids)
            except BaseException as error:
                self._panic = _panic(error)

    def fork(self) -> "GrammarState":
        """A copy that goes its own way; the library makes it in a microsecond."""
        copy = GrammarState(self._matcher.deep_copy())
        copy.num_taken, copy._panic = self.num_taken, self._panic
        return copy

    def num_possible(self, token_ids: list[int]) -> int:
        """How many of these tokens may come next, one after the other."""
        if self.error is not None:
            return 0
        try:
            return self._matcher.validate_tokens(token_ids)
        except BaseException as error:
            self._panic = _panic(error)
            return 0

    def fill(self, words: "NDArray[np.int32]") -> None:
        """Writes which tokens may come next, a bit each, least significant first."""
        try:
            self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        except BaseException as error:
            self._panic = _panic(error)


def allowed_tokens(states: Sequence[GrammarState], vocab_size: int) -> "NDArray[np.int32]":
    """Bits `[states, ceil(vocab_size / 32)]` of the tokens that may come next.

    All zero where a grammar cannot be followed any further: see `GrammarState.error`.
    """
    import numpy as np  # here, as the server uses this module and most never need it

    words = np.zeros((len(states), -(-vocab_size // 32)), dtype=np.int32)
    for state, row in zip(states, words, strict=True):
        if state.error is None:
            state.fill(row)
            if state.error is not None:
                row[:] = 0
    return words


def _panic(error: BaseException) -> str:
    """A panic in the library's Rust is no Exception: it would end the engine, not the request."""
    if type(error).__name__ != "PanicException":
        raise error
    return "the grammar library failed"


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip()[:MAX_REASON] or "no reason given"
