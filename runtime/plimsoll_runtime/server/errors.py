"""Errors that a client sees, in OpenAI's shape: problem, value and way out, never an address."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    413: "RequestTooLargeError",
    415: "UnsupportedMediaTypeError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}

MAX_SHOWN = 80


class APIError(Exception):
    """Ends a request with an HTTP status and OpenAI's error body.

    `param` names the field at fault, `code` is a machine-readable word such as
    `context_length_exceeded`; without one, the body carries the status as vLLM's does.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        return {
            "error": {
                "message": self.message,
                "type": TYPES.get(self.status, "APIError"),
                "param": self.param,
                "code": self.code or self.status,
            }
        }

    def response(self) -> Response:
        """The error as an HTTP response."""
        return Response(
            orjson.dumps(self.body()),
            status_code=self.status,
            headers=self.headers,
            media_type="application/json",
        )


def bad_request(message: str, param: str | None = None, code: str | None = None) -> APIError:
    """400; `param` is the field at fault."""
    return APIError(400, message, param=param, code=code)


def shown(value: object) -> str:
    """A value that came from JSON, cut to a length that fits an error message."""
    text = (
        repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    )
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
