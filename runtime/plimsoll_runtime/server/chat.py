"""POST /v1/chat/completions."""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.server.answers import Choice, Json, collect, head, stream
from plimsoll_runtime.server.bad_words import bad_word_ids
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.cache_salt import cache_salt
from plimsoll_runtime.server.chat_template import ChatTemplateError
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.errors import bad_request, shown
from plimsoll_runtime.server.generation import Generation, Job
from plimsoll_runtime.server.logprobs import LogprobsFormat
from plimsoll_runtime.server.origin import origin_of
from plimsoll_runtime.server.protocol import (
    MAX_MESSAGES,
    UNSUPPORTED_CHAT,
    ChatCompletionRequest,
    ChatMessage,
)
from plimsoll_runtime.server.sequence import Delta
from plimsoll_runtime.server.streaming import EventStream, until_disconnect
from plimsoll_runtime.server.structured import grammar_of
from plimsoll_runtime.server.validation import (
    Extras,
    check_length,
    check_scored,
    context_too_long,
    parse_request,
    sampling_params,
    text_options,
)

MAX_ARGUMENT = 256

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answers a conversation, rendered with the model's chat template."""
    context = context_of(request)
    arrival_time = context.client.time()
    raw = await read_object(request)
    _refuse_tools(raw)
    body = parse_request(raw, ChatCompletionRequest, UNSUPPORTED_CHAT)
    if body.top_logprobs and not body.logprobs:
        raise bad_request("top_logprobs: takes logprobs true", param="top_logprobs")
    context.check_model(body.model)
    extras = Extras(
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        prompt_logprobs=body.prompt_logprobs,
        grammar=await grammar_of(context, body.response_format),
        bad_words=bad_word_ids(context.tokenizer, body.bad_words or ()),
    )
    prompt = await _prompt(context, body)
    check_scored((body.n or 1) * len(prompt), extras)
    max_tokens = body.max_completion_tokens or body.max_tokens
    generation = Generation(
        context.client,
        context.metrics,
        context.tokenizer,
        Job(
            request_id=request.scope["request_id"],
            arrival_time=arrival_time,
            prompts=[prompt],
            sampling=[
                sampling_params(
                    body,
                    len(prompt),
                    max_tokens,
                    context.limits,
                    extras,
                )
            ],
            n=body.n or 1,
            options=text_options(body),
            cache_salt=cache_salt(request.headers, body.cache_salt),
            origin=origin_of(request, body.priority),
        ),
    )
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    answer = ChatFormat(
        head("chatcmpl", request.scope["request_id"], kind, context.settings.name),
        prompt if body.return_token_ids else None,
        LogprobsFormat(context.token_text, bool(body.return_tokens_as_token_ids)),
        body.prompt_logprobs,
    )
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(stream(generation, answer, usage), generation.close)
    whole = await until_disconnect(request.receive, collect(generation, answer))
    return Response(orjson.dumps(whole), media_type="application/json")


class ChatFormat:
    """`prompt` are the prompt's token ids when the client asked for ids, `prompt_logprobs` how
    many likely tokens are shown beside each of them; None shows nothing."""

    def __init__(
        self,
        head: Json,
        prompt: list[int] | None,
        logprobs: LogprobsFormat,
        prompt_logprobs: int | None = None,
    ) -> None:
        self._head = head
        self._prompt = prompt
        self._logprobs = logprobs
        self._prompt_logprobs = prompt_logprobs
        self._begun: set[int] = set()

    def whole(self, choices: list[Choice]) -> Json:
        """A `chat.completion`."""
        listed = []
        for index, choice in enumerate(choices):
            message = {"role": "assistant", "content": "".join(choice.text), "refusal": None}
            content = {"message": message}
            told = choice.logprobs if choice.last and choice.last.logprobs is not None else None
            listed.append(self._choice(index, content, choice.last, choice.token_ids, told))
        more: Json = {} if self._prompt is None else {"prompt_token_ids": self._prompt}
        if self._prompt_logprobs is not None:
            more["prompt_logprobs"] = self._logprobs.prompt(
                choices[0].prompt_logprobs, self._prompt_logprobs
            )
        return self._head | {"choices": listed} | more

    def chunks(self, delta: Delta) -> list[Json]:
        """The role first, once a choice; then content; the last with the reason."""
        chunks = []
        if delta.index not in self._begun:
            chunks.append(self._role(delta.index))
            self._begun.add(delta.index)
        told = delta.logprobs
        if delta.text or told or delta.finish_reason is not None or self._prompt is not None:
            content = {"delta": {"content": delta.text} if delta.text else {}}
            body = self._choice(delta.index, content, delta, list(delta.token_ids), told)
            chunks.append(self._head | {"choices": [body]})
        return chunks

    def empty(self) -> Json:
        """A chunk without choices."""
        return self._head | {"choices": []}

    def _role(self, index: int) -> Json:
        content = {"delta": {"role": "assistant", "content": ""}}
        body = self._choice(index, content, None, [])
        ids = {} if self._prompt is None else {"prompt_token_ids": self._prompt}
        return self._head | {"choices": [body]} | ids

    def _choice(
        self,
        index: int,
        content: Json,
        delta: Delta | None,
        token_ids: list[int],
        logprobs: Items[TokenLogprobs] | None = None,
    ) -> Json:
        choice: Json = {
            "index": index,
            **content,
            "logprobs": None if logprobs is None else self._logprobs.chat(logprobs),
            "finish_reason": delta.finish_reason if delta else None,
            "stop_reason": delta.stop_reason if delta else None,
        }
        if self._prompt is not None:
            choice["token_ids"] = token_ids
        return choice


def _refuse_tools(raw: Mapping[str, Any]) -> None:
    if raw.get("tools") and raw.get("tool_choice") != "none":
        raise bad_request(
            "tools are not supported by this server: leave them out or send tool_choice none",
            param="tools",
        )


async def _prompt(context: Context, body: ChatCompletionRequest) -> list[int]:
    """The conversation as token ids. Raises APIError 400."""
    template = context.tokenizer.chat_template
    if template is None:
        raise bad_request("the model has no chat template: use /v1/completions", param="messages")
    messages = [_message(index, message) for index, message in enumerate(body.messages)]
    extra = body.chat_template_kwargs or {}
    _check_arguments(extra)

    def encode() -> list[int]:
        text = template.render(
            messages,
            context.tokenizer.special_tokens,
            add_generation_prompt=body.add_generation_prompt is not False,
            extra=extra,
        )
        check_length(context.tokenizer, text, context.limits.max_model_len)
        return context.tokenizer.encode(text, add_special_tokens=False)

    size = sum(len(message["content"]) for message in messages)
    try:
        ids = await context.run_text(encode, size)
    except ChatTemplateError as error:
        raise bad_request(
            f"messages: the model's chat template refused them: {error}", param="messages"
        ) from error
    if not ids:
        raise bad_request("messages: the rendered prompt has no tokens", param="messages")
    if len(ids) >= context.limits.max_model_len:
        raise context_too_long(len(ids), context.limits.max_model_len)
    return ids


def _message(index: int, message: ChatMessage) -> dict[str, str]:
    """A message as templates expect it: `developer` is OpenAI's newer word for `system`."""
    path = f"messages.{index}"
    if message.tool_calls:
        raise bad_request(
            f"{path}.tool_calls: tools are not supported by this server", f"{path}.tool_calls"
        )
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": _content(f"{path}.content", message)}


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
    if kind != "text":
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
