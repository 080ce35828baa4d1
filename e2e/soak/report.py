"""What a scenario has found: lines for a person, and what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MEBIBYTE = 2**20
MOST_SHOWN = 10


@dataclass
class Report:
    """Of one scenario; it passed when nothing is wrong."""

    name: str
    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Adds a line, and prints it."""
        self.lines.append(line)
        print(f"  {line}", flush=True)

    def blame(self, problem: str) -> None:
        """Adds something that is wrong; all of it counts, the first few are printed."""
        self.wrong.append(problem)
        if len(self.wrong) <= MOST_SHOWN:
            print(f"  WRONG: {problem}", flush=True)

    def verdict(self) -> str:
        """The last line."""
        return f"{self.name}: {f'FAILED, {len(self.wrong)} wrong' if self.wrong else 'passed'}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Rows in columns, the first to the left and the others to the right."""
    cells = [[str(each) for each in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if index else text.ljust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def mebibytes(count: float) -> str:
    """Bytes for a table."""
    return f"{count / MEBIBYTE:.1f}"
