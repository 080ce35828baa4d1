"""The plans that README.md shows are what `plimsoll plan` prints."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll_operator.commands import plan

ROOT = Path(__file__).parents[3]
INVENTORY = ROOT / "manifests" / "samples" / "inventory-cpu.yaml"


def shown(after: str, before: str) -> Iterator[str]:
    """Lines of the README between two marks, but those that stand for what is left out."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = text[text.index(after) + len(after) : text.index(before)].splitlines()
    return (line.strip() for line in lines if line.strip() not in ("", "..."))


@pytest.mark.parametrize(
    ("sample", "after", "before", "code"),
    [
        ("chat.yaml", "(plimsoll plan)\n", "6. kubectl apply", 0),
        ("infeasible.yaml", "inventory-cpu.yaml\n", "```\n\nTwo hours", 3),
    ],
)
def test_plans(
    sample: str, after: str, before: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ROOT / "manifests" / "samples" / sample
    assert plan.main(["-f", str(file), "--inventory", str(INVENTORY)]) == code
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    lines = list(shown(after, before))
    assert len(lines) > 5
    assert [line for line in lines if line not in printed] == []
