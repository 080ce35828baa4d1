"""One HTTP request's sequences: submitted together, merged into one stream of deltas."""

from collections.abc import AsyncIterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace

from plimsoll_runtime.core.request import (
    FinishReason,
    Request,
    RequestOutput,
    SamplingParams,
    TokenLogprobs,
)
from plimsoll_runtime.server.engine_client import Arrival, EngineClient
from plimsoll_runtime.server.errors import APIError, bad_request
from plimsoll_runtime.server.metrics import Metrics
from plimsoll_runtime.server.origin import Origin
from plimsoll_runtime.server.sequence import Delta, Sequence, TextOptions
from plimsoll_runtime.server.tokenizer import Tokenizer

SEED_MASK = 2**63 - 1


@dataclass(frozen=True)
class Job:
    """What to generate: `n` answers to each prompt, `sampling[i]` for prompt i.

    `arrival_time` is in seconds of the engine client's clock. Only jobs with the same `cache_salt`
    share what is in the KV cache.
    """

    request_id: str
    arrival_time: float
    prompts: Items[list[int]]
    sampling: Items[SamplingParams]
    n: int
    options: TextOptions
    cache_salt: str = ""
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True)
class Usage:
    """Token counts of an answer; the prompt counts once however many choices it has.

    `cached_tokens` of the prompts were in the KV cache when their first choice was begun.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass
class _Choice:
    sequence: Sequence
    num_prompt_tokens: int
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    cached_tokens: int = 0
    first_scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None


class Generation:
    """Choice `i * n + j` is the j-th answer to prompt i; each is one sequence of the engine.

    Submits at once: raises APIError when the engine does not take the request. Close it, or the
    sequences run to their end.
    """

    def __init__(
        self,
        client: EngineClient,
        metrics: Metrics,
        tokenizer: Tokenizer,
        job: Job,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._arrival_time = job.arrival_time
        self.prompts = job.prompts
        self.n = job.n
        self._choices: dict[str, _Choice] = {}
        requests = []
        for index in range(len(job.prompts) * job.n):
            prompt = job.prompts[index // job.n]
            sampling = _with_seed(job.sampling[index // job.n], index % job.n)
            name = f"{job.request_id}-{index}"
            requests.append(
                Request(
                    name,
                    prompt,
                    sampling,
                    job.arrival_time,
                    priority=job.origin.priority,
                    cache_salt=job.cache_salt,
                    tenant=job.origin.tenant,
                )
            )
            sequence = Sequence(index, tokenizer, job.options, prompt)
            self._choices[name] = _Choice(sequence, len(prompt))
        self._ticket = client.submit(requests, job.origin.max_wait)
        metrics.params_n.observe(job.n)
        for request in requests:
            metrics.params_max_tokens.observe(request.sampling.max_tokens)

    @property
    def usage(self) -> Usage:
        """Counts so far."""
        choices = list(self._choices.values())
        return Usage(
            prompt_tokens=sum(len(prompt) for prompt in self.prompts),
            completion_tokens=sum(each.sequence.num_tokens for each in choices),
            cached_tokens=sum(each.cached_tokens for each in choices[:: self.n]),
        )

    async def deltas(self) -> AsyncIterator[Delta]:
        """Every choice's deltas as they come, until all have ended.

        Deltas of one choice that came while the client was slow are one. Raises APIError 500 or
        503 when the engine ends a sequence with an error, or 400 when the request itself leaves
        it no token; the rest are then aborted.
        """
        left = len(self._choices)
        while left:
            arrivals = await self._ticket.take()
            for output, time in arrivals:
                self._observe(self._choices[output.request_id], output, time)
            for output in _merged(arrivals):
                choice = self._choices[output.request_id]
                if choice.sequence.finish_reason is not None:
                    continue
                choice.prompt_logprobs += output.prompt_logprobs
                if not output.new_token_ids and output.finish_reason is None:
                    continue
                failed = output.finish_reason in (FinishReason.ERROR, FinishReason.ABORT)
                delta = choice.sequence.push(
                    output.new_token_ids,
                    None if failed else output.finish_reason,
                    output.logprobs,
                )
                if choice.prompt_logprobs:
                    delta = delta._replace(prompt_logprobs=choice.prompt_logprobs)
                    choice.prompt_logprobs = ()
                if delta.finish_reason is not None:
                    left -= 1
                    self._client.drop(self._ticket, output.request_id)
                    self._observe_end(choice, delta.finish_reason)
                self._client.work.delivered(len(delta.token_ids))
                yield delta
                if failed and delta.finish_reason is None:
                    raise self._failed(output)

    def close(self) -> None:
        """Aborts what is unfinished. May be called twice."""
        self._client.drop(self._ticket)
        for choice in self._choices.values():
            if choice.sequence.finish_reason is None:
                choice.sequence.finish_reason = FinishReason.ABORT
                self._metrics.ended(FinishReason.ABORT)

    def _failed(self, output: RequestOutput) -> APIError:
        choice = self._choices[output.request_id]
        choice.sequence.finish_reason = FinishReason.ERROR
        self._metrics.ended(FinishReason.ERROR)
        return failure(output)

    def _observe(self, choice: _Choice, output: RequestOutput, time: float) -> None:
        metrics = self._metrics
        count = len(output.new_token_ids)
        if choice.sequence.finish_reason is not None:
            return
        if not count:
            if output.finish_reason is FinishReason.LENGTH and not choice.sequence.num_tokens:
                self._observe_prompt(choice, output)
            return
        if choice.last_token_time is None:
            metrics.tokens.first(count)
            choice.first_scheduled_time = output.first_scheduled_time
            choice.first_token_time = time
            self._observe_prompt(choice, output)
            metrics.time_to_first_token.observe(time - self._arrival_time)
            if output.first_scheduled_time is not None:
                metrics.queue_time.observe(output.first_scheduled_time - self._arrival_time)
        else:
            metrics.tokens.later(count, time - choice.last_token_time)
        choice.last_token_time = time

    def _observe_prompt(self, choice: _Choice, output: RequestOutput) -> None:
        """Once a choice: with its first token, or at its end where it was to have none."""
        choice.cached_tokens = output.cached_tokens
        self._metrics.prompt_tokens_cached.inc(output.cached_tokens)
        self._metrics.prompt_tokens.inc(choice.num_prompt_tokens)

    def _observe_end(self, choice: _Choice, reason: FinishReason) -> None:
        metrics = self._metrics
        metrics.ended(reason)
        metrics.request_prompt_tokens.observe(choice.num_prompt_tokens)
        metrics.request_generation_tokens.observe(choice.sequence.num_tokens)
        first, last = choice.first_token_time, choice.last_token_time
        if first is None or last is None:
            return
        metrics.e2e_latency.observe(last - self._arrival_time)
        metrics.decode_time.observe(last - first)
        if choice.sequence.num_tokens > 1:
            metrics.time_per_output_token.observe((last - first) / (choice.sequence.num_tokens - 1))
        if choice.first_scheduled_time is not None:
            metrics.prefill_time.observe(first - choice.first_scheduled_time)
            metrics.inference_time.observe(last - choice.first_scheduled_time)


def failure(output: RequestOutput) -> APIError:
    """What a client is told of a sequence that the engine ended with an error or abandoned."""
    if output.finish_reason is FinishReason.ABORT:
        return APIError(503, "the server stopped before the answer was complete")
    if output.refused and output.error:
        return bad_request(output.error)
    return APIError(500, output.error or "internal error; the request can be sent again")


def _with_seed(sampling: SamplingParams, index: int) -> SamplingParams:
    """Choices of one prompt differ, and yet are the same for the same seed."""
    if sampling.seed is None:
        return sampling
    return replace(sampling, seed=(sampling.seed + index) & SEED_MASK)


def _joined(
    before: tuple[TokenLogprobs, ...] | None, after: tuple[TokenLogprobs, ...] | None
) -> tuple[TokenLogprobs, ...] | None:
    return None if before is None and after is None else (before or ()) + (after or ())


def _merged(arrivals: list[Arrival]) -> list[RequestOutput]:
    """One output a sequence, in the order in which the sequences first come up."""
    if len(arrivals) == 1:
        return [arrivals[0].output]
    merged: dict[str, RequestOutput] = {}
    for output, _ in arrivals:
        before = merged.get(output.request_id)
        if before is not None:
            merged[output.request_id] = output._replace(
                new_token_ids=before.new_token_ids + output.new_token_ids,
                logprobs=_joined(before.logprobs, output.logprobs),
                prompt_logprobs=before.prompt_logprobs + output.prompt_logprobs,
            )
        else:
            merged[output.request_id] = output
    return list(merged.values())
