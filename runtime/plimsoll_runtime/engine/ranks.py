"""The processes of the other ranks of a tensor-parallel engine, as rank 0 sees them."""

import logging
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from plimsoll_runtime.engine.child import engine_environment
from plimsoll_runtime.engine.collectives import CollectiveError, DistributedGroup, connect
from plimsoll_runtime.engine.execution import RunnerLostError
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.rank_channel import (
    EXIT_LEFT_ALONE,
    Failed,
    Joining,
    Message,
    Start,
    frame,
    pair,
)
from plimsoll_runtime.model.parallel import SINGLE, Group

logger = logging.getLogger(__name__)

END_SECONDS = 5.0
"""How long a rank may take to end before it is killed."""
VERDICT_SECONDS = 2.0
"""How long to look for the rank at fault when a collective has failed."""
M = TypeVar("M", bound=Message)
OnLost = Callable[[BaseException], None]


class RankInputError(ValueError):
    """A rank cannot load its share: the model or an option is at fault."""


class Rank:
    """One process."""

    def __init__(self, rank: int, threads: int | None, meeting: Path) -> None:
        self.rank = rank
        self.channel, theirs = pair()
        environment = engine_environment()
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        with theirs:
            command = [sys.executable, "-P", "-m", "plimsoll_runtime.engine.rank"]
            self.process = subprocess.Popen(  # noqa: S603
                [*command, str(theirs.fileno()), str(meeting)],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )

    def __str__(self) -> str:
        return f"tensor-parallel rank {self.rank} (process {self.process.pid})"

    def end(self) -> int:
        """Waits for the process to end, or makes it end; the exit code."""
        try:
            return self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Ranks:
    """Ranks 1 to N - 1, none where N is 1. One that ends, ends all."""

    def __init__(
        self, folder: Path, options: EngineOptions, device: torch.device, threads: int | None
    ) -> None:
        self._device = device
        self._size = options.tensor_parallel_size
        self._lost: RunnerLostError | None = None
        self._told = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._watcher: threading.Thread | None = None
        self._group: DistributedGroup | None = None
        self._ranks: list[Rank] = []
        self._folder: Path | None = None
        if self._size > 1:
            self._start(folder, options, threads)

    def _start(self, folder: Path, options: EngineOptions, threads: int | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="plimsoll-ranks-"))
        try:
            for rank in range(1, self._size):
                self._ranks.append(Rank(rank, threads, self._folder))
            for each in self._ranks:
                start = Start(
                    rank=each.rank,
                    folder=str(folder),
                    options=options,
                    device=self._device.type,
                    threads=threads,
                )
                each.channel.send(start)
        except BaseException:
            self.close()
            raise

    def connect(self) -> Group:
        """Waits until all ranks are there and joins them. Raises as `collect` does."""
        if self._folder is None:
            return SINGLE
        self.collect(Joining)
        try:
            self._group = connect(self._folder, self._device, 0, self._size)
        except CollectiveError as error:
            raise RunnerLostError(f"{error}") from error
        return self._group

    def send(self, message: Message) -> None:
        """Tells all ranks the same. Raises RunnerLostError when one is gone."""
        data = frame(message)
        for each in self._ranks:
            try:
                each.channel.send_frame(data)
            except OSError as error:
                raise self.lost(error) from error

    def collect(self, kind: type[M]) -> list[M]:
        """The next message of every rank; only before `watch`.

        Raises RankInputError or RunnerLostError when one has ended instead.
        """
        answers: list[M] = []
        waiting = {each.channel.fileno(): each for each in self._ranks}
        while waiting:
            for fileno in _readable(waiting, None):
                each = waiting.pop(fileno)
                message = each.channel.receive()
                if isinstance(message, kind):
                    answers.append(message)
                elif isinstance(message, Failed) and message.bad_input:
                    raise RankInputError(message.error)
                else:
                    raise self._verdict(each, message, waiting)
        return answers

    def watch(self, on_lost: OnLost) -> None:
        """From now on calls `on_lost`, on a thread of its own, when a rank has ended."""
        if not self._ranks:
            return
        self._watcher = threading.Thread(
            target=self._watch, args=(on_lost,), name="plimsoll-ranks", daemon=True
        )
        self._watcher.start()

    def check(self) -> None:
        """Raises RunnerLostError when a rank has ended."""
        if self._lost is not None:
            raise self._lost

    def lost(self, error: BaseException) -> RunnerLostError:
        """What to raise after `error`: the rank that caused it, if that can be found out."""
        self._told.wait(VERDICT_SECONDS if self._watcher is not None else 0)
        return self._lost or RunnerLostError(f"the tensor-parallel ranks are out of step: {error}")

    def close(self) -> None:
        """Ends all ranks. May be called twice, and from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for each in self._ranks:
            each.channel.shutdown()
        for each in self._ranks:
            each.end()
            if self._watcher is None:
                each.channel.close()
        if self._group is not None:
            self._group.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self, on_lost: OnLost) -> None:
        waiting = {each.channel.fileno(): each for each in self._ranks}
        each = waiting.pop(_readable(waiting, None)[0])
        message = each.channel.receive()
        if not self._closed:
            self._lost = self._verdict(each, message, waiting)
            self._told.set()
            logger.error("%s", self._lost)
            for other in self._ranks:
                other.channel.shutdown()
            if self._group is not None:
                self._group.abort()
            on_lost(self._lost)
            self.close()
        for other in self._ranks:
            other.channel.close()

    def _verdict(
        self, each: Rank, message: Message | None, others: dict[int, Rank]
    ) -> RunnerLostError:
        """Names the rank at fault. One that only missed another in a collective is not."""
        deadline = time.monotonic() + VERDICT_SECONDS
        while True:
            if isinstance(message, Failed):
                return RunnerLostError(f"{each} failed: {message.error}")
            if message is not None:
                return RunnerLostError(f"{each} said {message} out of turn")
            code = each.end()
            left = deadline - time.monotonic()
            found = _readable(others, max(0.0, left)) if code == EXIT_LEFT_ALONE and others else []
            if not found:
                return RunnerLostError(f"{each} {_how_it_ended(code)}")
            each = others.pop(found[0])
            message = each.channel.receive()


def _readable(waiting: dict[int, Rank], seconds: float | None) -> list[int]:
    poll = select.poll()
    for fileno in waiting:
        poll.register(fileno, select.POLLIN)
    return [fileno for fileno, _ in poll.poll(None if seconds is None else seconds * 1000)]


def _how_it_ended(code: int) -> str:
    if code == EXIT_LEFT_ALONE:
        return "lost the others in a collective"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
