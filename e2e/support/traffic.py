"""Bounded traffic at a Service, through the API server's proxy on the loopback."""

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import openai


@contextlib.contextmanager
def kubectl_proxy(kubeconfig: str, account: str = "") -> Iterator[str]:
    """`kubectl proxy` on a free port of 127.0.0.1, acting as `account` if one is given; its URL."""
    command = ["kubectl", "proxy", "--port=0", "--address=127.0.0.1"]
    command += [f"--as={account}"] if account else []
    environment = {**os.environ, "KUBECONFIG": kubeconfig}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            port = re.search(r"127\.0\.0\.1:(\d+)", line)
            if port is None:
                raise RuntimeError(f"kubectl proxy said: {line!r}")
            yield f"http://127.0.0.1:{port[1]}"
        finally:
            process.terminate()


def service_url(proxy: str, namespace: str, name: str) -> str:
    """Base URL for an OpenAI client of the Service `name`, by any cluster's API server."""
    return f"{proxy}/api/v1/namespaces/{namespace}/services/{name}:http/proxy/v1"


def pod_url(proxy: str, namespace: str, name: str) -> str:
    """The same of one engine pod."""
    return f"{proxy}/api/v1/namespaces/{namespace}/pods/{name}:8000/proxy/v1"


def client(base_url: str, retries: int = 0, timeout: float = 60) -> openai.OpenAI:
    """The official SDK, which by default hides no failure by trying again."""
    return openai.OpenAI(base_url=base_url, api_key="none", max_retries=retries, timeout=timeout)


@dataclass
class Answer:
    """What became of one request: `error` is empty when it was answered in full."""

    error: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


def complete(sdk: openai.OpenAI, model: str, prompt: Sequence[int], output_tokens: int) -> Answer:
    """One streamed completion of exactly `output_tokens` tokens."""
    start = time.monotonic()
    answer = Answer()
    try:
        stream = sdk.completions.create(
            model=model,
            prompt=list(prompt),
            max_tokens=output_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        for chunk in stream:
            if chunk.usage:
                answer.prompt_tokens = chunk.usage.prompt_tokens
                answer.output_tokens = chunk.usage.completion_tokens
        if answer.output_tokens != output_tokens:
            answer.error = f"{answer.output_tokens} tokens instead of {output_tokens}"
    except Exception as error:
        answer.error = f"{type(error).__name__}: {error}"
    answer.seconds = time.monotonic() - start
    return answer


@dataclass
class Arrival:
    """A request of a trace: seconds from the start, and lengths in tokens."""

    at: float
    prompt_tokens: int
    output_tokens: int


def replay(base_url: str, model: str, arrivals: Sequence[Arrival]) -> list[Answer]:
    """Sends every request at its time, whatever became of those before it."""
    start = time.monotonic()

    def send(arrival: Arrival) -> Answer:
        time.sleep(max(0.0, start + arrival.at - time.monotonic()))
        prompt = [5 + (i * 7 + arrival.prompt_tokens) % 200 for i in range(arrival.prompt_tokens)]
        return complete(sdk, model, prompt, arrival.output_tokens)

    with client(base_url) as sdk, ThreadPoolExecutor(min(64, len(arrivals))) as pool:
        return list(pool.map(send, arrivals))


@dataclass
class Traffic:
    """Clients that send one request after another until stopped, at most `limit` each.

    Each waits for `pause` seconds between two, so that how fast the engine is does not decide how
    long the traffic lasts.
    """

    base_url: str
    model: str
    clients: int = 2
    output_tokens: int = 16
    limit: int = 2000
    pause: float = 0.1
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Traffic":
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the clients after the request that each is at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=90)

    @property
    def failures(self) -> list[str]:
        """What went wrong, one text a failed request."""
        return [answer.error for answer in list(self.answers) if answer.error]

    def _run(self, number: int) -> None:
        with client(self.base_url) as sdk:
            for turn in range(self.limit):
                if self._stop.is_set():
                    return
                prompt = [10 + (number * 31 + turn + i) % 200 for i in range(24)]
                self.answers.append(complete(sdk, self.model, prompt, self.output_tokens))
                self._stop.wait(self.pause)
