"""Why a trace that a spec names cannot be used."""

NOT_FOUND, TOO_LARGE, MALFORMED = "TraceNotFound", "TraceTooLarge", "TraceMalformed"
TROUBLES = frozenset({NOT_FOUND, TOO_LARGE, MALFORMED})


class NamedTraceError(ValueError):
    """A trace cannot be used. `reason` is for machines; the message says what is wrong with what,
    and the way out."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
