"""What a picture is made of, whatever it is written as. Pixels, from the top left."""

from collections.abc import Sequence
from dataclasses import dataclass

INK = "#222222"
"""Of words that have no colour of their own. Colours are `#rrggbb`."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """From one point to another."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Polyline:
    """A curve through `points`."""

    points: Points
    colour: str
    width: float = 2.0


@dataclass(frozen=True)
class Polygon:
    """An area that lets through what is behind it."""

    points: Points
    colour: str
    opacity: float


@dataclass(frozen=True)
class Words:
    """One line of text with its baseline at `y`; a `halo` keeps lines behind it off."""

    x: float
    y: float
    text: str
    colour: str = INK
    size: float = 12.0
    bold: bool = False
    anchor: str = "start"
    halo: bool = False


Shape = Line | Polyline | Polygon | Words


@dataclass(frozen=True)
class Clipped:
    """Shapes of which only what is within a rectangle is seen."""

    left: int
    top: int
    width: int
    height: int
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Drawing:
    """Shapes on white, the last ones on top."""

    title: str
    width: int
    height: int
    shapes: tuple[Shape | Clipped, ...]
