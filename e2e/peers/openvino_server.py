"""`python -m e2e.peers.openvino_server KIND FOLDER PORT THREADS SEQUENCES STEP_TOKENS GIGABYTES`:
OpenVINO GenAI over HTTP. The gigabytes are those of its KV cache.

KIND is `many`, its continuous batching with paged attention, or `one`, its pipeline for one request
at a time, whose attention is not paged. Their steps keep Python's global lock, so the pipeline is
in a process of its own.
"""

import asyncio
import itertools
import multiprocessing
import sys
import threading
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from e2e.peers.token_server import serve


class Limits(NamedTuple):
    """Of the pipeline."""

    threads: int
    sequences: int
    step_tokens: int
    gigabytes: int


def many(folder: str, limits: Limits, connection: Connection) -> None:
    """The pipeline's process: (number, prompt, count) in; lists of (number, tokens, over) out."""
    import openvino_genai

    scheduling = openvino_genai.SchedulerConfig()
    scheduling.cache_size = limits.gigabytes
    scheduling.max_num_seqs = limits.sequences
    scheduling.max_num_batched_tokens = limits.step_tokens
    scheduling.dynamic_split_fuse = True
    scheduling.enable_prefix_caching = True
    pipeline: Any = openvino_genai.ContinuousBatchingPipeline(
        folder, scheduling, "CPU", _properties(limits)
    )
    connection.send("ready")
    running: dict[int, Any] = {}
    while True:
        while not running or connection.poll(0):
            number, prompt, count = connection.recv()
            running[number] = pipeline.add_request(number, *_request(prompt, count))
        pipeline.step()
        connection.send(_news(running))


def one(folder: str, limits: Limits, connection: Connection) -> None:
    """As `many`, one after the other."""
    import openvino_genai

    properties = {**_properties(limits), "ATTENTION_BACKEND": "SDPA"}
    pipeline: Any = openvino_genai.LLMPipeline(folder, "CPU", properties)
    connection.send("ready")

    class Streamer(openvino_genai.StreamerBase):  # type: ignore[misc]
        def write(self, token: int | list[int]) -> Any:
            tokens = [token] if isinstance(token, int) else list(token)
            connection.send([(number, tokens, False)])
            return openvino_genai.StreamingStatus.RUNNING

        def end(self) -> None:
            connection.send([(number, [], True)])

    while True:
        number, prompt, count = connection.recv()
        pipeline.generate(*_request(prompt, count), Streamer())


def _properties(limits: Limits) -> dict[str, Any]:
    return {"INFERENCE_NUM_THREADS": limits.threads, "NUM_STREAMS": 1}


def _request(prompt: list[int], count: int) -> tuple[Any, Any]:
    """Token ids, and that so many are wanted, greedy."""
    import numpy as np
    import openvino
    import openvino_genai

    wanted = openvino_genai.GenerationConfig()
    wanted.max_new_tokens = wanted.min_new_tokens = count
    wanted.ignore_eos, wanted.do_sample = True, False
    return openvino.Tensor(np.array([prompt], np.int64)), wanted


def _news(running: dict[int, Any]) -> list[tuple[int, list[int], bool]]:
    """What a step brought; requests that are over are taken out."""
    news = []
    for number, handle in list(running.items()):
        tokens: list[int] = []
        while handle.can_read():
            for output in handle.read().values():
                tokens += output.generated_ids
        over = "RUNNING" not in str(handle.get_status())
        if over:
            del running[number]
        if tokens or over:
            news.append((number, tokens, over))
    return news


class Pipeline:
    """This process' end of the other."""

    def __init__(self, kind: str, folder: str, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        engine = {"many": many, "one": one}[kind]
        context.Process(target=engine, args=(folder, limits, theirs), daemon=True).start()
        theirs.close()
        self._connection.recv()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Queue[tuple[list[int], bool]]] = {}
        self._reader: threading.Thread | None = None

    async def generate(self, prompt: list[int], count: int) -> AsyncIterator[list[int]]:
        """Greedy tokens, as steps bring them."""
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, args=(loop,), daemon=True)
            self._reader.start()
        number = next(self._numbers)
        pieces = self._waiting[number] = asyncio.Queue()
        self._connection.send((number, prompt, count))
        over = False
        while not over:
            tokens, over = await pieces.get()
            if tokens:
                yield tokens

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            loop.call_soon_threadsafe(self._deliver, self._connection.recv())

    def _deliver(self, news: list[tuple[int, list[int], bool]]) -> None:
        for number, tokens, over in news:
            queue = self._waiting.pop(number) if over else self._waiting[number]
            queue.put_nowait((tokens, over))


def main() -> None:
    """Serves until the process ends."""
    kind, folder, port, *limits = sys.argv[1:]
    pipeline = Pipeline(kind, folder, Limits(*map(int, limits)))
    asyncio.run(serve("model", pipeline.generate, int(port)))


if __name__ == "__main__":
    main()
