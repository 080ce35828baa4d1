"""`python -m plimsoll_runtime.engine.rank FD FOLDER`: a rank but the first of an engine.

It does what rank 0 says over the socket FD, and ends when that is closed, whatever it is doing. In
FOLDER the ranks find each other; it goes with them.
"""

import logging
import os
import select
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import torch

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.core.partition import shard_config
from plimsoll_runtime.engine import garbage
from plimsoll_runtime.engine.collectives import CollectiveError, connect
from plimsoll_runtime.engine.lifeline import ignore_terminal_signals
from plimsoll_runtime.engine.loader import (
    available_bytes,
    choose_limits,
    rank_device,
)
from plimsoll_runtime.engine.precision import choose_dtype
from plimsoll_runtime.engine.rank_channel import (
    EXIT_LEFT_ALONE,
    Allocate,
    Allocated,
    Budget,
    Channel,
    Failed,
    Joining,
    Loaded,
    Measure,
    Message,
    Start,
    Step,
)
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.kernels.library_pages import give_back_libraries
from plimsoll_runtime.model.loader import load_model, read_model_config

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
LAST_WORD_SECONDS = 1.0
M = TypeVar("M", bound=Message)


def main(argv: list[str]) -> int:
    """Serves rank 0 until it is gone."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    ignore_terminal_signals()
    garbage.share_one_heap()
    channel, folder = Channel(socket.socket(fileno=int(argv[0]))), Path(argv[1])
    watcher = threading.Thread(target=_end_with_rank_0, args=(channel, folder), daemon=True)
    watcher.start()
    start = _checked(_next(channel), Start)
    try:
        _run(channel, start, folder)
    except CollectiveError as error:
        # If it is rank 0 that is gone, the watcher ends this process within that time.
        watcher.join(LAST_WORD_SECONDS)
        logger.error("rank %d: %s", start.rank, error)  # noqa: TRY400 - the fault is elsewhere
        return EXIT_LEFT_ALONE
    except Exception as error:
        bad_input = isinstance(error, ValueError)
        if not bad_input:
            logger.exception("rank %d failed", start.rank)
        with suppress(OSError):
            channel.send(Failed(f"{error}" if bad_input else repr(error), bad_input))
        return EXIT_FAILED


def _run(channel: Channel, start: Start, meeting: Path) -> NoReturn:
    give_back_libraries()
    options = start.options
    size = options.tensor_parallel_size
    if start.threads is not None:
        torch.set_num_threads(start.threads)
    folder = Path(start.folder)
    config = read_model_config(folder)
    device = rank_device(torch.device(start.device), start.rank, size)
    dtype = choose_dtype(options.dtype, config, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    limits = choose_limits(options, config, device)
    shard = shard_config(config, size)

    channel.send(Joining())
    group = connect(meeting, device, start.rank, size)
    model = load_model(
        folder,
        config,
        dtype=dtype,
        device=device,
        max_model_len=limits.max_model_len,
        group=group,
        quantization=options.quantization,
        backend=options.attention_backend,
    )
    channel.send(Loaded())
    message = _next(channel)
    if isinstance(message, Measure):
        budget = available_bytes(options, model, limits, dtype, device)
        channel.send(Budget(budget))
        message = _next(channel)
    blocks = _checked(message, Allocate).num_blocks
    cache = KVCache.allocate(
        shard, blocks, options.block_size, dtype, device, options.kv_cache_dtype
    )
    for _ in cache.take_memory():
        pass  # at once: rank 0 alone knows when there is time to spare
    runner = ModelRunner(model, cache, device, attention_backend=options.attention_backend)
    garbage.settle()
    channel.send(Allocated())
    while True:
        runner.follow(_checked(_next(channel), Step))


def _next(channel: Channel) -> Message:
    message = channel.receive()
    while message is None:
        signal.pause()  # the other thread ends the process
    return message


def _checked(message: Message, kind: type[M]) -> M:
    if not isinstance(message, kind):
        raise TypeError(f"{message} came out of turn")
    return message


def _end_with_rank_0(channel: Channel, folder: Path) -> None:
    """Waits until the other end is closed, then ends the process even in the midst of a step.

    A parent-death signal would leave the folder behind, and would not end a rank of an engine that
    is closed.
    """
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    poll.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    # Threads of the collectives may still wait for the others; nothing here needs tidying up.
    os._exit(main(sys.argv[1:]))
