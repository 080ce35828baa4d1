"""POST /v1/chat/completions."""

from collections.abc import Sequence as Items
from dataclasses import replace

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from plimsoll_runtime.core.request import TokenLogprobs
from plimsoll_runtime.server.answers import Choice, Json, collect, head, stream
from plimsoll_runtime.server.bad_words import bad_word_ids
from plimsoll_runtime.server.body import read_object
from plimsoll_runtime.server.calling_message import Calling, CallingMessage
from plimsoll_runtime.server.chat_message import MessageForm, PlainMessage
from plimsoll_runtime.server.context import Context, context_of
from plimsoll_runtime.server.conversation import conversation_of, prompt_tokens
from plimsoll_runtime.server.errors import bad_request
from plimsoll_runtime.server.forced_calls import forced_grammar
from plimsoll_runtime.server.logprobs import LogprobsFormat
from plimsoll_runtime.server.protocol import UNSUPPORTED_CHAT, ChatCompletionRequest
from plimsoll_runtime.server.sequence import Delta, TextOptions
from plimsoll_runtime.server.streaming import EventStream, until_disconnect
from plimsoll_runtime.server.structured import grammar_of
from plimsoll_runtime.server.submission import submit
from plimsoll_runtime.server.tokenizer import Tokenizer
from plimsoll_runtime.server.tool_calls.formats import FORMATS, detect
from plimsoll_runtime.server.tool_choice import ToolChoice, tool_choice_of
from plimsoll_runtime.server.validation import Extras, check_scored, parse_request, text_options

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answers a conversation, rendered with the model's chat template."""
    context = context_of(request)
    arrival_time = context.client.time()
    body = parse_request(await read_object(request), ChatCompletionRequest, UNSUPPORTED_CHAT)
    if body.top_logprobs and not body.logprobs:
        raise bad_request("top_logprobs: takes logprobs true", param="top_logprobs")
    context.check_model(body.model)
    choice = tool_choice_of(body.tools, body.tool_choice)
    calling = _calling(context, body, choice)
    # A model that is not told of tools does not call any, as tool_choice none wants it.
    conversation = conversation_of(body, with_tools=calling is not None)
    extras = Extras(
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        prompt_logprobs=body.prompt_logprobs,
        grammar=await _grammar(context, body, calling, choice),
        bad_words=bad_word_ids(context.tokenizer, body.bad_words or ()),
    )
    prompt = await prompt_tokens(context, conversation)
    check_scored((body.n or 1) * len(prompt), extras)
    generation = submit(
        request,
        body,
        [prompt],
        [body.max_completion_tokens or body.max_tokens],
        arrival_time=arrival_time,
        extras=extras,
        options=_text_options(body, calling, context.tokenizer),
    )
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    answer = ChatFormat(
        head("chatcmpl", request.scope["request_id"], kind, context.settings.name),
        prompt if body.return_token_ids else None,
        LogprobsFormat(context.token_text, bool(body.return_tokens_as_token_ids)),
        body.prompt_logprobs,
        form=CallingMessage(calling) if calling else None,
    )
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(stream(generation, answer, usage), generation.close)
    whole = await until_disconnect(request.receive, collect(generation, answer))
    return Response(orjson.dumps(whole), media_type="application/json")


class ChatFormat:
    """`prompt` are the prompt's token ids when the client asked for ids, `prompt_logprobs` how
    many likely tokens are shown beside each of them; None shows nothing. `form` reads the text."""

    def __init__(
        self,
        head: Json,
        prompt: list[int] | None,
        logprobs: LogprobsFormat,
        prompt_logprobs: int | None = None,
        *,
        form: MessageForm | None = None,
    ) -> None:
        self._head = head
        self._prompt = prompt
        self._logprobs = logprobs
        self._prompt_logprobs = prompt_logprobs
        self._form = form or PlainMessage()
        self._begun: set[int] = set()

    def whole(self, choices: list[Choice]) -> Json:
        """A `chat.completion`."""
        listed = []
        for index, choice in enumerate(choices):
            content = {"message": self._form.message(choice)}
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
        if delta.choice not in self._begun:
            chunks.append(self._role(delta.choice))
            self._begun.add(delta.choice)
        content = {"delta": self._form.delta(delta)}
        told = delta.logprobs
        ended = delta.finish_reason is not None
        if content["delta"] or told or ended or self._prompt is not None:
            body = self._choice(delta.choice, content, delta, list(delta.token_ids), told)
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
            "finish_reason": self._form.finish_reason(delta, *content.values()) if delta else None,
            "stop_reason": delta.stop_reason if delta else None,
        }
        if self._prompt is not None:
            choice["token_ids"] = token_ids
        return choice


def _calling(context: Context, body: ChatCompletionRequest, choice: ToolChoice) -> Calling | None:
    """How the model calls the request's tools, if it may. Raises APIError 400 if it cannot."""
    if not choice.tools:
        return None
    template = context.tokenizer.template(with_tools=True)
    if template is None or not template.takes_tools:
        raise bad_request(
            "tools: the model's chat template does not take any: leave them out or send "
            "tool_choice none",
            param="tools",
        )
    form = FORMATS.get(context.settings.tool_call_parser or "") or detect(template.source)
    if form is None:
        raise bad_request(
            "tools: how this model writes calls is not known: start the server with "
            f"--tool-call-parser {', '.join(FORMATS)}, or send tool_choice none",
            param="tools",
        )
    functions = frozenset(tool.function.name for tool in choice.tools)
    parallel = body.parallel_tool_calls is not False
    return Calling(form, functions, parallel=parallel, named=choice.named)


async def _grammar(
    context: Context, body: ChatCompletionRequest, calling: Calling | None, choice: ToolChoice
) -> str | None:
    """The grammar of the answer, None where it may be anything. Raises APIError 400."""
    grammar = await grammar_of(context, body.response_format)
    if calling is None or not choice.forced:
        return grammar
    if grammar is not None:
        raise bad_request(
            "tool_choice: an answer cannot be a forced call and follow response_format: send one "
            "of them",
            param="tool_choice",
        )
    return await forced_grammar(context, calling, choice)


def _text_options(
    body: ChatCompletionRequest, calling: Calling | None, tokenizer: Tokenizer
) -> TextOptions:
    """Where calls are marked by special tokens, these must become text for the parser to see."""
    options = text_options(body)
    if calling is None or not tokenizer.is_special(calling.form.markers):
        return options
    return replace(options, skip_special_tokens=False)
