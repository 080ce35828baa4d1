"""Lines for a terminal of 80 columns, and for files and pipes: no colours, no cursor."""

import textwrap
from collections.abc import Sequence

WIDTH = 79
LABEL = 12
KEPT, BROKEN = "✓", "✗"


def row(label: str, text: str) -> str:
    """One line: a label, and what it is."""
    return f"  {label:<{LABEL}}{text}".rstrip()


def wrapped(label: str, text: str, hang: int = 0) -> list[str]:
    """The same over as many lines as it takes; `hang` indents those after the first further."""
    first = f"  {label:<{LABEL}}"
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * (len(first) + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Columns as wide as their longest cell; those in `right` are aligned to the right."""
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    return [
        "  "
        + "   ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in rows
    ]
