"""Captures CUDA graphs."""

from collections.abc import Callable
from functools import partial

import torch

from plimsoll_runtime.attention.backend import choose_attention
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.cuda_graphs import batch_sizes
from plimsoll_runtime.engine.decode_graphs import DecodeGraphs
from plimsoll_runtime.engine.runner import ModelRunner


class CudaRecorder:
    """See `Recorder`. Its graphs share one pool of memory: none may run while another does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._free = self._free_bytes()

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder`. Raises RuntimeError where something in `compute` cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        # torch.cuda.graph leaves its stream current when a capture fails; this one does not.
        with torch.cuda.stream(self._stream):
            compute()  # compiles and loads kernels, which a capture may not
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                compute()
        torch.cuda.synchronize(self._device)
        return graph.replay

    def memory_taken(self) -> int:
        """See `Recorder`."""
        return self._free - self._free_bytes()

    def _free_bytes(self) -> int:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)[0]


@torch.inference_mode()
def capture_graphs(runner: ModelRunner, max_num_seqs: int, backend: AttentionBackend) -> None:
    """Has a runner's decode steps of up to so many sequences computed by graphs."""
    graphs = DecodeGraphs(
        runner.model,
        runner.cache,
        CudaRecorder(runner.device),
        partial(choose_attention, runner.cache, backend),
        batch_sizes(max_num_seqs),
    )
    runner.capture(graphs)
