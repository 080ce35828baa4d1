"""A drawing as PNG (ISO/IEC 15948), written by hand: pictures need no library."""

import math
import struct
import zlib
from collections.abc import Iterator

from plimsoll_operator.drawing import glyphs
from plimsoll_operator.drawing.picture import (
    Clipped,
    Drawing,
    Line,
    Points,
    Polygon,
    Polyline,
    Shape,
    Words,
)
from plimsoll_operator.drawing.raster import Box, Raster

SCALE = 2
"""Pixels by each of the drawing's, so that it is sharp on today's screens."""
_DASH = 4.0
_CORNERS = 12
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUECOLOUR = 2


def png(drawing: Drawing) -> bytes:
    """The whole file."""
    raster = Raster(SCALE * drawing.width, SCALE * drawing.height)
    for shape in drawing.shapes:
        if isinstance(shape, Clipped):
            right, bottom = shape.left + shape.width, shape.top + shape.height
            box = (shape.left * SCALE, shape.top * SCALE, right * SCALE, bottom * SCALE)
            for each in shape.shapes:
                _draw(raster, each, box)
        else:
            _draw(raster, shape, raster.box)
    lines = b"".join(b"\0" + raster.row(y) for y in range(raster.height))
    header = struct.pack(">IIBBBBB", raster.width, raster.height, 8, _TRUECOLOUR, 0, 0, 0)
    title = b"Title\0" + drawing.title.encode("latin-1", "replace")
    chunks = ((b"IHDR", header), (b"tEXt", title), (b"IDAT", zlib.compress(lines, 9)))
    return _SIGNATURE + b"".join(_chunk(*each) for each in (*chunks, (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _draw(raster: Raster, shape: Shape, box: Box) -> None:
    match shape:
        case Line():
            ends = ((shape.x1, shape.y1), (shape.x2, shape.y2))
            for begin, end in _dashes(*ends) if shape.dashed else (ends,):
                raster.fill(_scaled(_stroke(begin, end, shape.width)), shape.colour, box)
        case Polyline():
            for begin, end in zip(shape.points, shape.points[1:], strict=False):
                raster.fill(_scaled(_stroke(begin, end, shape.width)), shape.colour, box)
            for point in shape.points[1:-1]:
                raster.fill(_scaled(_round(point, shape.width / 2)), shape.colour, box)
        case Polygon():
            raster.fill(_scaled(shape.points), shape.colour, box, shape.opacity)
        case Words():
            _write(raster, shape, box)


def _scaled(points: Points) -> Points:
    return tuple((SCALE * x, SCALE * y) for x, y in points)


def _stroke(begin: tuple[float, float], end: tuple[float, float], width: float) -> Points:
    """The rectangle that a line of some width is."""
    (x1, y1), (x2, y2) = begin, end
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    right, down = (y2 - y1) / length * width / 2, (x1 - x2) / length * width / 2
    return (
        (x1 + right, y1 + down),
        (x2 + right, y2 + down),
        (x2 - right, y2 - down),
        (x1 - right, y1 - down),
    )


def _round(centre: tuple[float, float], radius: float) -> Points:
    """Where two parts of a curve meet."""
    angles = (2 * math.pi * corner / _CORNERS for corner in range(_CORNERS))
    return tuple(
        (centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles
    )


def _dashes(
    begin: tuple[float, float], end: tuple[float, float]
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    (x1, y1), (x2, y2) = begin, end
    length = math.hypot(x2 - x1, y2 - y1)

    def at(along: float) -> tuple[float, float]:
        share = min(1.0, along / length)
        return x1 + (x2 - x1) * share, y1 + (y2 - y1) * share

    for number in range(math.ceil(length / (2 * _DASH))):
        yield at(2 * _DASH * number), at(2 * _DASH * number + _DASH)


def _write(raster: Raster, words: Words, box: Box) -> None:
    """Whole pixels to each of a glyph's, and a bold one a pixel wider."""
    size = max(1, round(SCALE * words.size / 12))
    advance = glyphs.ADVANCE * size + words.bold
    width = advance * len(words.text)
    left = round(SCALE * words.x) - {"start": 0, "middle": width // 2, "end": width}[words.anchor]
    top = round(SCALE * words.y) - glyphs.HEIGHT * size
    for grown, colour in (
        ((SCALE, "#ffffff"), (0, words.colour)) if words.halo else ((0, words.colour),)
    ):
        for number, character in enumerate(words.text):
            for x, y in _pixels(character):
                right, below = left + number * advance + x * size, top + y * size
                edges = (
                    right - grown,
                    below - grown,
                    right + size + grown + words.bold,
                    below + size + grown,
                )
                raster.fill(_corners(edges), colour, box)


def _pixels(character: str) -> Iterator[tuple[int, int]]:
    for y, row in enumerate(glyphs.rows(character)):
        for x in range(glyphs.WIDTH):
            if row >> (glyphs.WIDTH - 1 - x) & 1:
                yield x, y


def _corners(edges: Box) -> Points:
    left, top, right, bottom = edges
    return (left, top), (right, top), (right, bottom), (left, bottom)
