"""From a conversation to the prompt's token ids, through the model's chat template."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plimsoll_runtime.server.chat_template import ChatTemplateError
from plimsoll_runtime.server.context import Context
from plimsoll_runtime.server.errors import bad_request, shown
from plimsoll_runtime.server.protocol import MAX_MESSAGES, ChatMessage, ConversationRequest
from plimsoll_runtime.server.tools import Tool
from plimsoll_runtime.server.validation import check_length, context_too_long

MAX_ARGUMENT = 256
RENDERING = 64
"""Characters whose tokenization takes about as long as a message's rendering."""


@dataclass(frozen=True)
class Conversation:
    """Messages, the tools that the model is told of, and what else its template is given."""

    messages: Sequence[ChatMessage]
    tools: Sequence[Tool] = ()
    add_generation_prompt: bool = True
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    param: str = "messages"
    """What the API calls the messages."""


def conversation_of(body: ConversationRequest, *, with_tools: bool) -> Conversation:
    """A request's conversation, with its tools or without them."""
    return Conversation(
        messages=body.messages,
        tools=(body.tools or ()) if with_tools else (),
        add_generation_prompt=body.add_generation_prompt is not False,
        template_arguments=body.chat_template_kwargs or {},
    )


async def prompt_tokens(context: Context, conversation: Conversation) -> list[int]:
    """The conversation as token ids, one at least and fewer than the context has.

    Raises APIError 400.
    """
    param = conversation.param
    tools = [tool.for_template() for tool in conversation.tools]
    template = context.tokenizer.template(with_tools=bool(tools))
    if template is None:
        raise bad_request("the model has no chat template: use /v1/completions", param=param)
    messages = template_messages(conversation.messages, param)
    extra = conversation.template_arguments
    _check_arguments(extra)

    def encode() -> list[int]:
        text = template.render(
            messages,
            context.tokenizer.special_tokens,
            add_generation_prompt=conversation.add_generation_prompt,
            tools=tools or None,
            extra=extra,
        )
        check_length(context.tokenizer, text, context.limits.max_model_len)
        return context.tokenizer.encode(text, add_special_tokens=False)

    size = sum(RENDERING + _size(message) for message in (*messages, *tools))
    try:
        ids = await context.run_text(encode, size)
    except ChatTemplateError as error:
        raise bad_request(
            f"{param}: the model's chat template refused them: {error}", param=param
        ) from error
    if not ids:
        raise bad_request(f"{param}: the rendered prompt has no tokens", param=param)
    if len(ids) >= context.limits.max_model_len:
        raise context_too_long(len(ids), context.limits.max_model_len)
    return ids


def template_messages(
    messages: Sequence[ChatMessage], param: str = "messages"
) -> list[dict[str, Any]]:
    """Messages as templates expect them. Raises APIError 400.

    `developer` is OpenAI's newer word for `system`; a tool's answer carries the name of the
    function whose call it answers.
    """
    called: dict[str, str] = {}
    result = []
    for index, message in enumerate(messages):
        role = "system" if message.role == "developer" else message.role
        content = _content(f"{param}.{index}.content", message)
        each: dict[str, Any] = {"role": role, "content": content}
        if role == "assistant" and message.tool_calls:
            each["tool_calls"] = [call.for_template() for call in message.tool_calls]
            called |= {call.id: call.function.name for call in message.tool_calls if call.id}
        if role == "tool":
            each["tool_call_id"] = message.tool_call_id or ""
            name = message.name or called.get(message.tool_call_id or "")
            each |= {"name": name} if name else {}
        result.append(each)
    return result


def _size(value: Mapping[str, Any]) -> int:
    content = value.get("content")
    if isinstance(content, str) and "tool_calls" not in value:
        return len(content)
    return len(json.dumps(value, ensure_ascii=False))


def _content(path: str, message: ChatMessage) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None and message.role == "assistant":
        return ""
    if not isinstance(content, list) or not content or len(content) > MAX_MESSAGES:
        raise bad_request(
            f"{path}: must be text or a list of 1 to {MAX_MESSAGES} parts, not {shown(content)}",
            path,
        )
    return "\n".join(_part(f"{path}.{index}", part) for index, part in enumerate(content))


def _part(path: str, part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if isinstance(part, dict) else None
    if kind not in ("text", "input_text", "output_text"):
        raise bad_request(
            f"{path}: only parts of type 'text' are supported, not {shown(kind)}", path
        )
    if not isinstance(text, str):
        raise bad_request(f"{path}.text: must be text, not {shown(text)}", f"{path}.text")
    return text


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        plain = value is None or isinstance(value, str | int | float | bool)
        if not plain or (isinstance(value, str) and len(value) > MAX_ARGUMENT):
            raise bad_request(
                f"chat_template_kwargs.{name}: must be a number, a boolean or text of at most "
                f"{MAX_ARGUMENT} characters",
                param="chat_template_kwargs",
            )
