"""The seconds of the process in front of an engine as a function of what it does."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class FrontendTime:
    """Seconds of one core for what passes between clients and the engine; nobody else works on it.

    A request takes `request` and `prompt_token` for each token of its prompt before the engine has
    it: a connection, JSON, tokenization. What a step put out comes as a message, which takes
    `message` to read; for each sequence that it has a token of, `token` is for the token's text and
    `event` for the write to its client. `end` is what is left to do after the last token. `latency`
    is what nobody works on, such as the wake-up of a process: it passes for each token, whatever
    the load.
    """

    request: float
    prompt_token: float
    message: float
    event: float
    token: float
    end: float
    latency: float

    def scaled(self, factor: float) -> "FrontendTime":
        """All of it times `factor`, as on a share of a core."""
        return FrontendTime(*(factor * each for each in astuple(self)))

    def before_first_token(self, prompt_tokens: float) -> float:
        """Seconds of a request that has the frontend to itself."""
        work = self.request + self.prompt_token * prompt_tokens
        return work + self.message + self.event + self.token + self.latency
