"""The engine: one thread that schedules, runs the model and hands out tokens, step by step."""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from plimsoll_runtime.core.checks import check_request
from plimsoll_runtime.core.counting import load_of
from plimsoll_runtime.core.limits import LiveLimits
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.core.queue import QueueCount
from plimsoll_runtime.core.request import FinishReason, Request, RequestOutput
from plimsoll_runtime.core.scheduler import Scheduler
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine.errors import ENGINE_FAILED, INTERNAL_ERROR, EngineFailedError
from plimsoll_runtime.engine.execution import Runner, RunnerLostError
from plimsoll_runtime.engine.grammar import GrammarCompiler
from plimsoll_runtime.engine.grammar_intake import GrammarIntake
from plimsoll_runtime.engine.handle import OutputCallback
from plimsoll_runtime.engine.stats import (
    MAX_STEP_SAMPLES,
    EngineStats,
    SpeculationStats,
    StepSample,
)

logger = logging.getLogger(__name__)

_NO_MORE = object()
MAX_CONSECUTIVE_FAILURES = 3
SPARE_PAUSE = 0.001
"""Seconds without work before each piece of what the engine does in its spare time."""
FAIL_SECONDS = 5.0
"""How long a step that hangs may keep requests from their error once the engine has failed."""


class Engine:
    """Serves requests from any thread with one step loop.

    `on_output` runs on the engine's thread and must not block; the last call for a request has
    its `finish_reason`, and exactly one such call comes for every submitted request, whatever
    happens. `failed` holds the exception that ended the engine, else None. `on_step` is called on
    that thread too, when a step was scheduled and after its callbacks, and must not raise; set it
    before `start`. `on_end` is called when the engine has ended, maybe more than once.
    `spare_work` is gone on with on that thread, a step at a time, while there is nothing to run;
    set it before `start`. Without `grammars` requests that bring one are refused.
    """

    def __init__(  # noqa: PLR0913 - most by name
        self,
        scheduler: Scheduler,
        runner: Runner,
        model_config: ModelConfig,
        *,
        grammars: GrammarCompiler | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = scheduler.limits
        self.model_config = model_config
        self.failed: BaseException | None = None
        self.attention_path = ""
        self.on_step: Callable[[], None] = _nothing
        self.on_end: Callable[[], None] = _nothing
        self.spare_work: Iterator[None] | None = None
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock
        self._grammars = GrammarIntake(grammars)
        self._seeds = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._changed = threading.Condition()
        self._callbacks: dict[str, OutputCallback] = {}
        self._submitted: deque[Request] = deque()
        self._aborted: deque[str] = deque()
        self._new_limits: LiveLimits | None = None
        self._waiting: tuple[QueueCount, ...] = ()
        self._num_running = 0
        self._stopping = False
        self._ready = threading.Event()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_step_time = clock()
        self._step_began = self._clock()
        self._num_steps = 0
        self._samples: deque[StepSample] = deque(maxlen=MAX_STEP_SAMPLES)
        self._speculation = SpeculationStats.start(scheduler.speculation)

    @property
    def ready(self) -> bool:
        """Whether the warm-up step has run and requests are served."""
        return self._ready.is_set() and self.failed is None and not self._stopping

    def start(self) -> None:
        """Starts the step loop; returns when a warm-up step has run.

        Raises EngineFailedError when that step fails, and RuntimeError when called twice.
        """
        if self._thread is not None:
            raise RuntimeError("the engine was started already")
        self._thread = threading.Thread(target=self._run, name="plimsoll-engine", daemon=True)
        self._thread.start()
        self._started.wait()
        if not self._ready.is_set():
            raise EngineFailedError(f"the warm-up step failed: {self.failed}") from self.failed

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """For `EngineHandle`: nothing to do, callbacks run on the engine's own thread."""

    def join(self, seconds: float | None = None) -> bool:
        """Waits until the loop has ended, by `stop` or a failure; False if it has not in time."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Ends the loop; unfinished requests get the reason `abort`. May be called twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            self._grammars.close()
        if self._thread is None:
            self._end_all()
            self.on_end()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def fail(self, error: BaseException) -> None:
        """Ends the engine, from any thread but its own, as something that it needs is gone.

        Every request gets an error, in FAIL_SECONDS at the latest even where a step hangs.
        """
        with self._changed:
            if self.failed is None:
                self.failed = error
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(FAIL_SECONDS)
        self._end_all()

    def submit(self, request: Request, on_output: OutputCallback) -> None:
        """Queues a request; may be called from any thread, also before `start`.

        Raises ValueError when the request can never be served (see `Scheduler.check`), names a
        token outside the vocabulary or has the id of an unfinished one, and EngineFailedError
        when the engine has failed or stopped.
        """
        check_request(request, self.limits, self.model_config.vocab_size)
        grammar = request.sampling.grammar
        if grammar is not None:
            self._grammars.check(request.sampling)
        with self._changed:
            if self.failed is not None or self._stopping:
                raise EngineFailedError(f"the engine takes no requests: {self.failed or 'stopped'}")
            if request.request_id in self._callbacks:
                raise ValueError(f"request id {request.request_id!r} is in use")
            if request.sampling.seed is None:
                seed = self._seeds.getrandbits(63)
                request.sampling = replace(request.sampling, seed=seed)
            if not self._callbacks:
                self._last_step_time = self._clock()
            self._callbacks[request.request_id] = on_output
            if grammar is None:
                self._submitted.append(request)
                self._changed.notify()
            else:
                self._grammars.compile(grammar, lambda: self._compiled(request))

    def abort(self, request_id: str) -> None:
        """Ends a request before the next step, with reason `abort`; any thread, any id."""
        with self._changed:
            if request_id in self._callbacks:
                self._aborted.append(request_id)
                self._changed.notify()

    def set_limits(self, live: LiveLimits) -> None:
        """Changes limits before the next step, dropping no request; any thread.

        `stats().limits` are those that come into force then. Raises ValueError for limits that
        `EngineLimits.check_live` refuses, and EngineFailedError when the engine has stopped.
        """
        self.limits.check_live(live)
        with self._changed:
            if self.failed is not None or self._stopping:
                raise EngineFailedError(f"the engine has ended: {self.failed or 'stopped'}")
            self._new_limits = live
            self._changed.notify()

    @property
    def queue(self) -> tuple[int, int, tuple[QueueCount, ...], LiveLimits]:
        """What the server has to know of as soon as it changes: steps done, who runs, who waits,
        the limits. From the engine's thread."""
        limits = self._new_limits or self._scheduler.live_limits
        return self._num_steps, self._num_running, self._waiting, limits

    def stats(self, after: int = 0) -> EngineStats:
        """A snapshot, from any thread; its samples only of steps after that many."""
        scheduler = self._scheduler
        with self._changed:
            new = max(0, self._num_steps - after)
            samples = tuple(islice(reversed(self._samples), new))[::-1]
            busy = bool(self._callbacks)
            last_step_time = self._last_step_time
            waiting = self._waiting + tuple(map(QueueCount.of, self._submitted))
            limits = self._new_limits or scheduler.live_limits
            num_running = self._num_running
            speculation = self._speculation
        return EngineStats(
            num_running=num_running,
            num_waiting=sum(each.num_requests for each in waiting),
            kv_cache_usage=min(1.0, scheduler.pool.num_used / scheduler.pool.num_usable),
            num_blocks=scheduler.pool.num_blocks,
            block_size=self.limits.block_size,
            num_preemptions=scheduler.num_preemptions,
            prefix_cache_queries=scheduler.prefixes.num_queries,
            prefix_cache_hits=scheduler.prefixes.num_hits,
            num_steps=self._num_steps,
            last_step_time=last_step_time,
            stalled_seconds=max(0.0, self._clock() - last_step_time) if busy else 0.0,
            step_samples=samples,
            limits=limits,
            waiting=waiting,
            mean_output_tokens=scheduler.mean_output_tokens,
            mean_output_steps=scheduler.mean_output_steps,
            speculation=speculation,
        )

    def _compiled(self, request: Request) -> None:
        with self._changed:
            if request.request_id in self._callbacks:
                self._submitted.append(request)
                self._changed.notify()

    # Everything below runs on the engine's thread.

    def _run(self) -> None:
        try:
            self._runner.warm_up()
            self._ready.set()
            self._started.set()
            self._loop()
        except BaseException as error:
            logger.exception("the engine failed")
            self.failed = self.failed or error
        finally:
            self._end_all()
            self.on_step()
            self._started.set()
            self.on_end()

    def _loop(self) -> None:
        failures = 0
        while self._take_in():
            output = self._scheduler.schedule(self._clock())
            self._publish()
            self.on_step()
            if not output.scheduled:
                self._step_began = self._clock()
                continue
            self._moved()
            try:
                result = self._runner.execute(output)
            except RunnerLostError:
                raise
            except Exception:
                failures += 1
                logger.exception("a model step failed (%d in a row)", failures)
                if failures >= MAX_CONSECUTIVE_FAILURES:
                    raise
                self._fail(output)
                self.on_step()
                self._step_began = self._clock()
                continue
            failures = 0
            for request_id, message in result.refused.items():
                ended = self._scheduler.fail(request_id, message)
                if ended is not None:
                    self._deliver(ended._replace(refused=True))
            self._deliver(*self._scheduler.update(output, result))
            self._record(output, result)
            self._publish()
            self.on_step()

    def _take_in(self) -> bool:
        """Waits for work; takes submissions, then aborts. False when the loop is to end."""
        self._wait()
        with self._changed:
            if self._stopping or self.failed is not None:
                return False
            submitted = list(self._submitted)
            aborted = list(self._aborted)
            self._submitted.clear()
            self._aborted.clear()
            for request in submitted:
                # It may have been aborted while its grammar was compiled.
                if request.request_id in self._callbacks:
                    self._scheduler.add(request)
            if self._new_limits is not None:
                self._scheduler.set_limits(self._new_limits)
                self._new_limits = None
            self._publish()
        for request_id in aborted:
            ended = self._scheduler.abort(request_id)
            # One that the scheduler does not know has ended, or its grammar is being compiled.
            self._deliver(ended or RequestOutput(request_id, (), FinishReason.ABORT))
        return True

    def _wait(self) -> None:
        """Until there is work; meanwhile goes on with what can wait."""
        with self._changed:
            if self._has_work():
                return
        while not self._has_work_in(None if self.spare_work is None else SPARE_PAUSE):
            if self.spare_work is not None and next(self.spare_work, _NO_MORE) is _NO_MORE:
                self.spare_work = None
        self._step_began = self._clock()

    def _has_work_in(self, seconds: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(self._has_work, seconds)

    def _has_work(self) -> bool:
        return bool(
            self._stopping
            or self.failed is not None
            or self._submitted
            or self._aborted
            or self._new_limits
            or self._scheduler.has_unfinished()
        )

    def _publish(self) -> None:
        """Lets other threads see who runs and who waits, as of one moment."""
        with self._changed:
            self._waiting = self._scheduler.waiting_summary()
            self._num_running = self._scheduler.num_running

    def _moved(self) -> None:
        with self._changed:
            self._last_step_time = self._clock()

    def _record(self, output: SchedulerOutput, result: StepResult) -> None:
        load = load_of(output.scheduled, result.num_drafts)
        began, self._step_began = self._step_began, self._clock()
        sample = StepSample(
            load.tokens,
            load.context,
            load.pairs,
            len(output.scheduled),
            self._step_began - began,
        )
        with self._changed:
            if self._speculation is not None and result.num_drafts:
                self._speculation = self._speculation.plus(result.num_drafts, result.accepted)
            self._num_steps += 1
            self._samples.append(sample)
            self._last_step_time = self._step_began

    def _fail(self, output: SchedulerOutput) -> None:
        """Ends the requests of a step that raised; the others go on.

        What was raised is in the log: a client has no use for it.
        """
        for item in output.scheduled:
            ended = self._scheduler.fail(item.request_id, INTERNAL_ERROR)
            if ended is not None:
                self._deliver(ended)

    def _deliver(self, *outputs: RequestOutput) -> None:
        """Calls the requests' callbacks; where one raises, its request ends and no other does."""
        with self._changed:
            found = [
                self._callbacks.get(output.request_id)
                if output.finish_reason is None
                else self._callbacks.pop(output.request_id, None)
                for output in outputs
            ]
        for callback, output in zip(found, outputs, strict=True):
            if callback is None:
                continue
            try:
                callback(output)
            except Exception:
                logger.exception("the callback of request %s failed", output.request_id)
                self._scheduler.abort(output.request_id)
                with self._changed:
                    self._callbacks.pop(output.request_id, None)

    def _end_all(self) -> None:
        """Tells every request that is left that the engine ended."""
        with self._changed:
            self._stopping = True
            left = list(self._callbacks)
        if self.failed is None:
            reason, error = FinishReason.ABORT, None
        else:
            reason, error = FinishReason.ERROR, ENGINE_FAILED
        for request_id in left:
            self._deliver(RequestOutput(request_id, (), reason, error))


def _nothing() -> None:
    """What `on_step` does unless it is set."""
