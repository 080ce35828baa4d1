"""How many guesses are worth the model's time, from how a request's last ones did."""

MAX_PAUSE = 16
"""Steps: how seldom a request whose guesses are all wrong gets another one."""


class Confidence:
    """Of one request. Pure: it knows guesses, and the tokens that came instead.

    Twice as many after guesses that were all right, else one more than were right. After a single
    wrong one, none for 1, 2, 4, … steps, until one is right again.
    """

    def __init__(self) -> None:
        self._length: int | None = None
        self._guesses: list[int] = []
        self._wait = 0
        self._pause = 1

    def allowed(self, most: int) -> int:
        """How many to guess now, at most `most`; asked once a step."""
        if self._wait:
            self._wait -= 1
            return 0
        return most if self._length is None else min(most, self._length)

    def guessed(self, guesses: list[int]) -> None:
        """What was guessed in this step."""
        self._guesses = guesses

    def came(self, token_ids: list[int]) -> None:
        """What came out since."""
        guesses, self._guesses = self._guesses, []
        if not guesses or not token_ids:
            return
        right = 0
        for guess, token_id in zip(guesses, token_ids, strict=False):
            if guess != token_id:
                break
            right += 1
        if right == len(guesses):
            self._length = 2 * right
        else:
            self._length = right + 1
        if right:
            self._pause = 1
        elif len(guesses) == 1:
            self._wait = self._pause
            self._pause = min(2 * self._pause, MAX_PAUSE)
