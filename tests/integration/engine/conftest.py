"""Engines that end with the test, and a folder in the place of /tmp."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.engine.several_ranks import Load, loading


@pytest.fixture
def load() -> Iterator[Load]:
    """Engines for one test."""
    with loading() as make:
        yield make


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
