"""Plans in a process of their own: a search takes a second of CPU, and in a thread it would hold up
everything else that long.

The process starts with the first question and ends once nothing was asked for a while, so that an
operator at rest does not keep its memory. It is a command, and no pool of `multiprocessing`, which
would import in it all that this module does and leave another process behind for good.
"""

import asyncio
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from plimsoll_operator import metrics
from plimsoll_planner.inputs import PlanRequest
from plimsoll_planner.planner import plan
from plimsoll_planner.result import PlanResult

IDLE_SECONDS = 30.0


class PlanProcessError(Exception):
    """No plan was made, by no fault of the question: the process ended or had no memory left."""


class PlanProcess:
    """The planner, one question at a time. For one event loop."""

    def __init__(self, trial_requests: int, idle: float = IDLE_SECONDS) -> None:
        self.trial_requests = trial_requests
        self._idle = idle
        self._worker: _Worker | None = None
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._worker is None else self._worker.process.pid

    async def plan(self, request: PlanRequest) -> PlanResult:
        """What the planner answers.

        Raises ValueError where the request makes no sense, and PlanProcessError where asking again
        may help: the next question gets a new process.
        """
        if self.trial_requests == 0:  # milliseconds, which no process is worth
            return await asyncio.to_thread(plan, request, 0)
        self._asked += 1
        worker: _Worker | None = None
        try:
            worker = self._begin()
            work = asyncio.get_running_loop().run_in_executor(
                worker.thread, worker.ask, request, self.trial_requests
            )
            result, seconds = await work
        except (EOFError, MemoryError, OSError) as error:
            if self._worker is worker:
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
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _begin(self) -> "_Worker":
        self._stop_timer()
        if self._worker is None:
            self._worker = _Worker()
        return self._worker

    def _rest(self) -> None:
        if self._asked == 0 and self._worker is not None:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_later(self._idle, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Worker:
    """The process, and the thread that alone speaks with it: so an answer that nobody waits for any
    more is still read before the next question is sent."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # -P: no module comes from the folder that the process happens to be in.
            command = [sys.executable, "-P", "-m", "plimsoll_operator.plan_service.plan_worker"]
            self.process = subprocess.Popen(  # noqa: S603 - a command of ours
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
            self._connection: Connection[Any, Any] = Connection(ours.detach())
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="plan")

    def ask(self, request: PlanRequest, trial_requests: int) -> tuple[PlanResult, float]:
        """A plan, and the seconds that it took. Raises what the planner raises, and EOFError or
        OSError where the process has ended."""
        self._connection.send((request, trial_requests))
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        result: tuple[PlanResult, float] = answer
        return result

    def end(self) -> None:
        """Kills the process; what was asked and waits fails."""
        self.process.kill()
        self.thread.submit(self._clear_away)
        self.thread.shutdown(wait=False)

    def _clear_away(self) -> None:
        self._connection.close()
        self.process.wait()
