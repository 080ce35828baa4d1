"""What the engine needs of whoever runs the model."""

from typing import Protocol

from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult


class RunnerLostError(RuntimeError):
    """The runner cannot run another step, whatever is asked of it."""


class Runner(Protocol):
    """Runs the model for one step. Called only from the engine's thread."""

    def execute(self, output: SchedulerOutput) -> StepResult:
        """Computes every scheduled token and samples.

        An exception ends all of the step's requests, RunnerLostError the engine.
        """

    def warm_up(self) -> None:
        """Runs a step that leaves nothing behind, so that the first request finds all ready."""
