"""What clients are told when the engine, or one of its steps, has failed."""

INTERNAL_ERROR = "internal error: the model step failed; the request can be sent again"
ENGINE_FAILED = "the engine failed; send the request again"


class EngineFailedError(RuntimeError):
    """The engine has stopped or has failed for good and takes no requests."""
