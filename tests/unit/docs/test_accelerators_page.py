from pathlib import Path

from plimsoll_planner.catalogue import CATALOGUE
from plimsoll_planner.catalogue.page import page

FILE = Path(__file__).parents[3] / "docs" / "accelerators.md"


def test_the_page_is_the_catalogue() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text == page(), "python -m plimsoll_planner.catalogue.page > docs/accelerators.md"
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for item in CATALOGUE:
        assert any(row.startswith(f"| {item.name} |") for row in rows), item.name
