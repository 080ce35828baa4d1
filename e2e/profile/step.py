"""One step, of decoding sequences or of prompts, whole and taken apart."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from e2e.profile.clocks import Clocks
from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.native import NativeAttention
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import ScheduledRequest, SchedulerOutput
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.kernels.library import load_kernels
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.operations import NativeOperations
from plimsoll_runtime.model.parallel import Weighted

CPU = torch.device("cpu")
BLOCK_SIZE = 16
REPEATS = 31


@dataclass(frozen=True)
class StepTimes:
    """Medians in seconds: the step, its layers in one call, and each part called by itself.

    `parts` are sums over all layers; what the whole takes beyond them is Python. `operations` are
    those of the products, the output head's for the last token of each sequence only.
    """

    work: "Work"
    whole: float
    layers: float
    parts: dict[str, float]
    weight_bytes: int
    cache_bytes: int
    operations: int


@dataclass(frozen=True)
class Work:
    """`sequences` of `context` tokens that decode the next one each, or are computed as prompts."""

    sequences: int
    context: int
    prompts: bool = False
    quantization: Quantization = Quantization.NONE


class Subject:
    """A model in bfloat16, or int8, with a cache for the work's sequences."""

    def __init__(self, folder: Path, threads: int, work: Work) -> None:
        torch.set_num_threads(threads)
        self.work = work
        sequences, context = work.sequences, work.context
        config = read_model_config(folder)
        blocks = context // BLOCK_SIZE + 1
        dtype = torch.bfloat16
        self.model = load_model(
            folder,
            config,
            dtype=dtype,
            device=CPU,
            max_model_len=(blocks + 1) * BLOCK_SIZE,
            quantization=work.quantization,
        )
        cache = KVCache.allocate(config, sequences * blocks, BLOCK_SIZE, dtype, CPU)
        cache.pages.normal_()
        self.runner = ModelRunner(self.model, cache, CPU, threads)
        self.cache_bytes = cache.pages.nbytes * context // (blocks * BLOCK_SIZE)
        self.weight_bytes = sum(each.nbytes for each in self.model.parameters())
        tokens = context if work.prompts else 1
        head = self.model.lm_head
        others = [each.matrix for each in self.model.layers.modules() if isinstance(each, Weighted)]
        layers = sum(each.outputs * each.inputs for each in others)
        self.operations = (
            2 * sequences * (layers * tokens + head.matrix.outputs * head.matrix.inputs)
        )
        items = [
            ScheduledRequest(
                request_id=str(i),
                token_ids=[(7 * i + 11 * j + 1) % config.vocab_size for j in range(tokens)],
                start=0 if work.prompts else context,
                block_ids=list(range(i * blocks, (i + 1) * blocks)),
                samples=True,
                output_index=0 if work.prompts else 1,
                sampling=SamplingParams(max_tokens=9, temperature=0.0),
            )
            for i in range(sequences)
        ]
        self.output = SchedulerOutput(items, [], sequences * tokens, sequences)

    def times(self) -> StepTimes:
        """Runs the step as it is served, then layer by layer with every call on a clock."""
        whole = self._median(lambda: self.runner.execute(self.output))
        clocks = Clocks()
        decoder = self.model._decoder
        if decoder is None:
            raise ValueError("without the kernels there is no step to take apart")
        run = decoder.run

        def layers(*arguments: Any) -> torch.Tensor:
            with clocks.on("layers"):
                return run(*arguments)

        decoder.run = layers  # type: ignore[method-assign, assignment]
        in_one = self._parts(clocks)["layers"]
        decoder.run = run  # type: ignore[method-assign]
        self._take_apart(clocks)
        parts = self._parts(clocks)
        return StepTimes(
            self.work,
            whole,
            in_one,
            parts,
            self.weight_bytes,
            self.cache_bytes,
            self.operations,
        )

    def _take_apart(self, clocks: Clocks) -> None:
        kernels = clocks.timed(load_kernels())
        self.model.use(NativeOperations(kernels, torch.bfloat16))
        self.model._decoder = None
        self.runner._attention = NativeAttention(self.runner.cache, kernels)
        for name, layer in self.model.named_modules():
            matrix = getattr(layer, "matrix", None)
            if matrix is not None:
                clocks.names[matrix.address] = name.rsplit(".", 1)[-1]
        choose = self.runner._chooser.choose

        def chosen(*arguments: object) -> object:
            with clocks.on("choose tokens"):
                return choose(*arguments)  # type: ignore[arg-type]

        self.runner._chooser.choose = chosen  # type: ignore[method-assign, assignment]

    def _parts(self, clocks: Clocks) -> dict[str, float]:
        runs = []
        for _ in range(REPEATS):
            clocks.clear()
            self.runner.execute(self.output)
            runs.append(dict(clocks.seconds))
        return {name: statistics.median(each[name] for each in runs) for name in runs[0]}

    def _median(self, call: Callable[[], object]) -> float:
        found = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            call()
            found.append(time.perf_counter() - begun)
        return statistics.median(found)
