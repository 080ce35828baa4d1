"""`python -m e2e.peers.openvino_server FOLDER PORT THREADS`: OpenVINO GenAI over HTTP.

Its steps keep Python's global lock, so the pipeline is in a process of its own.
"""

import asyncio
import itertools
import multiprocessing
import sys
import threading
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any

from e2e.peers.token_server import serve

CACHE_GIGABYTES = 3
MOST_SEQUENCES, STEP_TOKENS = 64, 1024


def engine(folder: str, threads: int, connection: Connection) -> None:
    """The pipeline's process: (number, prompt, count) in; lists of (number, tokens, over) out."""
    import numpy as np
    import openvino
    import openvino_genai

    scheduling = openvino_genai.SchedulerConfig()
    scheduling.cache_size = CACHE_GIGABYTES
    scheduling.max_num_seqs = MOST_SEQUENCES
    scheduling.max_num_batched_tokens = STEP_TOKENS
    scheduling.dynamic_split_fuse = True
    scheduling.enable_prefix_caching = True
    properties = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    pipeline: Any = openvino_genai.ContinuousBatchingPipeline(folder, scheduling, "CPU", properties)
    connection.send("ready")
    running: dict[int, Any] = {}
    while True:
        while not running or connection.poll(0):
            number, prompt, count = connection.recv()
            wanted = openvino_genai.GenerationConfig()
            wanted.max_new_tokens = wanted.min_new_tokens = count
            wanted.ignore_eos, wanted.do_sample = True, False
            ids = openvino.Tensor(np.array([prompt], np.int64))
            running[number] = pipeline.add_request(number, ids, wanted)
        pipeline.step()
        connection.send(_news(running))


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

    def __init__(self, folder: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        context.Process(target=engine, args=(folder, threads, theirs), daemon=True).start()
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
    folder, port, threads = sys.argv[1:4]
    asyncio.run(serve("model", Pipeline(folder, int(threads)).generate, int(port)))


if __name__ == "__main__":
    main()
