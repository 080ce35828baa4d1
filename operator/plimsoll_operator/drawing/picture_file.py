"""A drawing in a file, as what its name ends in."""

import argparse
from collections.abc import Callable
from pathlib import Path

from plimsoll_operator.drawing.picture import Drawing
from plimsoll_operator.drawing.png import png
from plimsoll_operator.drawing.svg import svg

_KINDS: dict[str, Callable[[Drawing], bytes]] = {
    ".png": png,
    ".svg": lambda drawing: svg(drawing).encode(),
}


def picture_path(text: str) -> Path:
    """For a command line. Raises ArgumentTypeError for a name that says no known kind."""
    path = Path(text)
    if path.suffix.lower() not in _KINDS:
        raise argparse.ArgumentTypeError(f"{text!r}: give a file that ends in .svg or .png")
    return path


def write_picture(path: Path, drawing: Drawing) -> None:
    """Writes the drawing; `path` is one that `picture_path` took. Raises OSError."""
    path.write_bytes(_KINDS[path.suffix.lower()](drawing))
