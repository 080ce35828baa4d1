"""`python -m e2e.peers.transformers_server MODEL PORT THREADS`: transformers' `generate` over HTTP.

One request after the other, each with its own cache, as `generate` has no batches that requests
enter and leave.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from e2e.peers.token_server import serve


class Generator:
    """The model, on a thread of its own while it computes."""

    def __init__(self, folder: str) -> None:
        load: Any = AutoModelForCausalLM.from_pretrained
        self._model = load(folder, dtype=torch.bfloat16).eval()
        self._turn = asyncio.Lock()

    async def generate(self, prompt: list[int], count: int) -> AsyncIterator[list[int]]:
        """Greedy tokens, one by one."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[list[int] | None]()

        def put(piece: list[int] | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def compute() -> None:
            try:
                with torch.inference_mode():
                    self._model.generate(
                        torch.tensor([prompt]),
                        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                        max_new_tokens=count,
                        min_new_tokens=count,
                        do_sample=False,
                        streamer=_Streamer(put),
                    )
            finally:
                put(None)

        async with self._turn:
            threading.Thread(target=compute, daemon=True).start()
            while (piece := await pieces.get()) is not None:
                yield piece


class _Streamer:
    """What `generate` tells of each step; the first is the prompt."""

    def __init__(self, put: Any) -> None:
        self._put, self._is_prompt = put, True

    def put(self, value: torch.Tensor) -> None:
        """Of transformers."""
        if not self._is_prompt:
            self._put(value.reshape(-1).tolist())
        self._is_prompt = False

    def end(self) -> None:
        """Of transformers."""


def main() -> None:
    """Serves until the process ends."""
    folder, port, threads = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    asyncio.run(serve("model", Generator(folder).generate, int(port)))


if __name__ == "__main__":
    main()
