"""SIGTERM under load, one replica of two after the other: clients must not notice.

A client goes to the other replica when one refuses the connection or answers 503 with
`Retry-After`, as behind a Service. Anything else but a whole and right answer is a failure.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack

import httpx

from e2e.soak.report import Report
from e2e.soak.server import Server

STREAMS, SHORTS, NEWCOMERS = 8, 6, 6
"""Clients with long streams, with short answers on kept connections, and on new ones each time."""
LONG, SHORT = 600, 8
"""Tokens of their answers."""
EXIT_SECONDS = 60
MOST_ATTEMPTS = 50


class Client:
    """Sends requests one after another until stopped, and counts what became of them."""

    def __init__(self, urls: list[str], tokens: int, *, keeps: bool, seed: int) -> None:
        self._urls = urls
        self._tokens = tokens
        self._keeps = keeps
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and the request that is under way then."""
        async with AsyncExitStack() as stack:
            kept = await stack.enter_async_context(_http())
            while not stop.is_set():
                if self._keeps:
                    await self._request(kept)
                else:
                    async with _http() as new:
                        await self._request(new)
                await asyncio.sleep(self._random.uniform(0, 0.05))

    async def _request(self, to: httpx.AsyncClient) -> None:
        for _ in range(MOST_ATTEMPTS):
            outcome = await self._attempt(to, self._random.choice(self._urls))
            self.outcomes[outcome] += 1
            if outcome not in ("refused", "503"):
                return
            await asyncio.sleep(0.02)
        self.failures.append("no replica takes the request")

    async def _attempt(self, to: httpx.AsyncClient, url: str) -> str:
        body = {
            "prompt": "The",
            "max_tokens": self._tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": self._tokens == LONG,
            "stream_options": {"include_usage": True} if self._tokens == LONG else None,
        }
        try:
            answer = await to.post(f"{url}/v1/completions", json=body)
        except httpx.ConnectError:
            return "refused"
        except httpx.HTTPError as error:
            return self._fail(f"{type(error).__name__}: {error.__cause__!r}")
        if (
            answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            and "retry-after" in answer.headers
        ):
            return "503"
        if answer.status_code != httpx.codes.OK:
            return self._fail(f"{answer.status_code}: {answer.text[:200]}")
        if f'"completion_tokens":{self._tokens}' not in answer.text:
            return self._fail(f"an answer without its {self._tokens} tokens: {answer.text[-200:]}")
        return "answered"

    def _fail(self, problem: str) -> str:
        self.failures.append(problem)
        return "failed"


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=120)


def _clients(urls: list[str], seed: int) -> list[Client]:
    kinds = [(LONG, True)] * STREAMS + [(SHORT, True)] * SHORTS + [(SHORT, False)] * NEWCOMERS
    return [
        Client(urls, tokens, keeps=keeps, seed=seed + number)
        for number, (tokens, keeps) in enumerate(kinds)
    ]


async def _roll(servers: Sequence[Server], rounds: int, seed: int, report: Report) -> list[Client]:
    """Ends the servers one after another under load; a new one comes first, as in a rollout."""
    urls = [each.url for each in servers]
    clients = _clients(urls, seed)
    stop = asyncio.Event()
    running = [asyncio.create_task(each.run(stop)) for each in clients]
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    old = list(servers)
    with ExitStack() as stack:
        for number in range(rounds):
            new = await asyncio.to_thread(stack.enter_context, Server())
            urls.append(new.url)
            await asyncio.sleep(chance.uniform(0.5, 2))
            ending = old.pop(0)
            old.append(new)
            ending.terminate()
            code = await asyncio.to_thread(ending.wait, EXIT_SECONDS)
            urls.remove(ending.url)
            report.say(f"replica {number + 1} ended with exit code {code}")
            if code != 0 or "Traceback" in ending.log:
                report.blame(f"exit code {code}:\n{ending.log[-2000:]}")
        stop.set()
        await asyncio.gather(*running)
    return clients


def run(seed: int, rounds: int) -> Report:
    """`rounds` times a SIGTERM."""
    report = Report("SIGTERM under load")
    with Server() as first, Server() as second:
        clients = asyncio.run(_roll([first, second], rounds, seed, report))
    total: Counter[str] = Counter()
    for each in clients:
        total += each.outcomes
        for problem in each.failures:
            report.blame(problem)
    report.say(f"{sum(total.values())} attempts: {dict(total)}")
    if not total["answered"]:
        report.blame("nothing was answered")
    return report
