"""An answer of /v1/responses as OpenAI's object, and as its events."""

from dataclasses import dataclass

from plimsoll_runtime.core.request import FinishReason
from plimsoll_runtime.server.answers import Json
from plimsoll_runtime.server.generation import Usage
from plimsoll_runtime.server.responses_protocol import ResponsesRequest


@dataclass(frozen=True)
class ResponseObject:
    """One answer of `model` to `body`, made at `created_at` (Unix time in seconds).

    It has one output item, a message with one part of text.
    """

    request_id: str
    body: ResponsesRequest
    model: str
    created_at: int

    def begun(self) -> Json:
        """The response before there is any output."""
        return self._response("in_progress", [])

    def ended(self, text: str, reason: FinishReason | None, usage: Usage) -> Json:
        """The whole response; cut off by a limit it is incomplete."""
        status = _status(reason)
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return self._response(status, [self.item(text, status)]) | {
            "incomplete_details": details,
            "usage": _usage(usage),
        }

    def failed(self, message: str) -> Json:
        """A response that has ended with an error."""
        error = {"code": "server_error", "message": message}
        return self._response("failed", []) | {"error": error}

    def item(self, text: str | None, status: str) -> Json:
        """The message, without `text` before its part has begun."""
        content = [] if text is None else [part(text)]
        return {
            "id": f"msg_{self.request_id}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(self, status: str, output: list[Json]) -> Json:
        body = self.body
        return {
            "id": f"resp_{self.request_id}",
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": None,
        }


class ResponseEvents:
    """The events of one streamed response, numbered, in OpenAI's order."""

    def __init__(self, response: ResponseObject) -> None:
        self._response = response
        self._number = -1
        self._place = {"output_index": 0, "item_id": response.item(None, "")["id"]}
        self._part = {**self._place, "content_index": 0}

    def begin(self) -> list[Json]:
        """Everything before the first text."""
        begun = self._response.begun()
        item = self._response.item(None, "in_progress")
        return [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
            self._event("response.output_item.added", output_index=0, item=item),
            self._event("response.content_part.added", part=part(""), **self._part),
        ]

    def text(self, text: str) -> Json:
        """More text."""
        return self._event("response.output_text.delta", delta=text, logprobs=[], **self._part)

    def end(self, text: str, reason: FinishReason | None, usage: Usage) -> list[Json]:
        """Everything after the last text."""
        status = _status(reason)
        item = self._response.item(text, status)
        ended = self._response.ended(text, reason, usage)
        return [
            self._event("response.output_text.done", text=text, logprobs=[], **self._part),
            self._event("response.content_part.done", part=part(text), **self._part),
            self._event("response.output_item.done", output_index=0, item=item),
            self._event(f"response.{status}", response=ended),
        ]

    def fail(self, message: str) -> Json:
        """The end after an error."""
        return self._event("response.failed", response=self._response.failed(message))

    def _event(self, kind: str, **fields: object) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}


def part(text: str) -> Json:
    """The part of a message that is text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _status(reason: FinishReason | None) -> str:
    return "incomplete" if reason is FinishReason.LENGTH else "completed"


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
