"""A folder with what `plimsoll plan` reads."""

from pathlib import Path

import pytest

from tests.unit.plimsoll_operator.planning.plan_runs import CHAT, INVENTORY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chat.yaml").write_text(CHAT)
    (tmp_path / "nodes.yaml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path
