"""The models that are measured."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from e2e.measured.random_llama import LLAMA_135M
from plimsoll_operator.planning.model_source import read_model_config
from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.models.reader import read_model


@dataclass(frozen=True)
class Subject:
    """A model, and how many requests of each trace it is sent, and in the rehearsal before.

    Without a `config` it is one that `plimsoll serve` knows by name; else its weights are random.
    """

    name: str
    requests: int
    rehearsed: int
    config: dict[str, Any] | None = None

    @cached_property
    def facts(self) -> ModelFacts:
        """What the planner knows of it."""
        if self.config is None:
            return model_facts(read_model_config(self.name).model)
        return model_facts(read_model(self.config))


SUBJECTS = (
    Subject("builtin://tiny", 300, 240),
    Subject("random Llama of 135M", 200, 150, config=LLAMA_135M),
)
