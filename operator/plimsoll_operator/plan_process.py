"""Plans in a process of their own: a search takes a second of CPU, and in a thread it would hold up
everything else that long.

The process starts with the first question and ends once nothing was asked for a while, so that an
operator at rest does not keep its memory.
"""

import asyncio
import multiprocessing
import os
import resource
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from time import perf_counter

from plimsoll_operator import metrics
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult

IDLE_SECONDS = 30.0
MEMORY_BYTES = 2 << 30
"""Address space of the process: a search that needs more has gone astray."""


class PlanProcessError(Exception):
    """No plan was made, by no fault of the question: the process ended or had no memory left."""


class PlanProcess:
    """The planner, one question at a time. For one event loop."""

    def __init__(self, trial_requests: int, idle: float = IDLE_SECONDS) -> None:
        self.trial_requests = trial_requests
        self._idle = idle
        self._executor: ProcessPoolExecutor | None = None
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process, or about to be one."""
        return self._executor is not None

    async def plan(self, request: PlanRequest) -> PlanResult:
        """What the planner answers.

        Raises ValueError where the request makes no sense, and PlanProcessError where asking again
        may help: the next question gets a new process.
        """
        if self.trial_requests == 0:  # milliseconds, which no process is worth
            return (await asyncio.to_thread(_timed, request, 0))[0]
        self._asked += 1
        executor: ProcessPoolExecutor | None = None
        try:
            executor = self._begin()
            work = asyncio.get_running_loop().run_in_executor(
                executor, _timed, request, self.trial_requests
            )
            result, seconds = await work
        except (BrokenProcessPool, MemoryError, OSError) as error:
            if self._executor is executor:
                self.close()
            raise PlanProcessError(
                f"the process that plans has ended or run out of memory ({error!r}); if this goes "
                "on, raise the operator's memory limit"
            ) from error
        finally:
            self._asked -= 1
            self._rest()
        metrics.PLAN_SECONDS.observe(seconds)
        return result

    def close(self) -> None:
        """Ends the process, in the midst of a search if need be."""
        self._stop_timer()
        executor, self._executor = self._executor, None
        if executor is not None:
            processes = list((executor._processes or {}).values())
            executor.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()

    def _begin(self) -> ProcessPoolExecutor:
        self._stop_timer()
        if self._executor is None:
            # Spawned, since a fork copies the locks of other threads in whatever state they are.
            spawn = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(1, spawn, _prepare, (MEMORY_BYTES,))
        return self._executor

    def _rest(self) -> None:
        if self._asked == 0 and self._executor is not None:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_later(self._idle, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _prepare(memory: int) -> None:
    """In the new process: bounds its memory, and has it end with its parent."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    os.nice(5)  # the operator itself goes first
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _timed(request: PlanRequest, trial_requests: int) -> tuple[PlanResult, float]:
    began = perf_counter()
    return plan(request, trial_requests), perf_counter() - began
