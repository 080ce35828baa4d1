"""The published configurations and sizes in tests/data, for the tests of what models cost."""

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

from plimsoll_planner.model_facts import ModelFacts, model_facts
from plimsoll_planner.models.reader import read_model

DATA = Path(__file__).parents[2] / "data"
NAMES = sorted(path.stem.replace("--", "/") for path in (DATA / "models").glob("*.json"))


@cache
def config(name: str) -> dict[str, Any]:
    """The config.json of a model by its name on the hub."""
    text = (DATA / "models" / f"{name.replace('/', '--')}.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


@cache
def facts(name: str) -> ModelFacts:
    """What the planner derives from it."""
    return model_facts(read_model(config(name)))


def rows(table: str) -> list[dict[str, str]]:
    """The rows of a table in tests/data, without the comments at its head."""
    lines = (DATA / table).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
