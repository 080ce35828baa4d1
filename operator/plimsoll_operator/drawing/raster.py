"""Areas onto pixels, their edges smoothed by how much of a pixel they cover."""

import math
from collections.abc import Iterator

from plimsoll_operator.drawing.picture import Points

_ROWS = (0.125, 0.375, 0.625, 0.875)
"""Where a row of pixels is cut, from its top: what lies between is exact to the right."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of the pixels that may change."""


class Raster:
    """`width` × `height` pixels of three bytes, white at first."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.pixels = bytearray(b"\xff") * (3 * width * height)

    @property
    def box(self) -> Box:
        """All of it."""
        return 0, 0, self.width, self.height

    def fill(self, points: Points, colour: str, box: Box, opacity: float = 1.0) -> None:
        """Paints the polygon, as far as it is in the box."""
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        left, top, right, bottom = box
        lowest, highest = min(y for _, y in points), max(y for _, y in points)
        for y in range(max(top, math.floor(lowest)), min(bottom, math.ceil(highest))):
            for x, covered in _coverage(points, y, left, right):
                share, at = min(1.0, covered) * opacity, 3 * (y * self.width + x)
                for place, value in ((at, red), (at + 1, green), (at + 2, blue)):
                    was = self.pixels[place]
                    self.pixels[place] = round(was + (value - was) * share)

    def row(self, y: int) -> bytes:
        """The bytes of one row."""
        return bytes(self.pixels[3 * y * self.width : 3 * (y + 1) * self.width])


def _coverage(points: Points, y: int, left: int, right: int) -> Iterator[tuple[int, float]]:
    """The pixels of a row that the polygon touches, and what share of each it covers."""
    first = max(left, math.floor(min(x for x, _ in points)))
    last = min(right, math.ceil(max(x for x, _ in points)) + 1)
    if first >= last:
        return
    part, change = [0.0] * (last - first + 1), [0.0] * (last - first + 1)
    for below in _ROWS:
        crossed = sorted(_crossings(points, y + below))
        for begin, end in zip(crossed[::2], crossed[1::2], strict=False):
            low = min(max(begin - first, 0.0), last - first)
            high = min(max(end - first, 0.0), last - first)
            i, j = int(low), int(high)
            if i == j:
                part[i] += high - low
                continue
            part[i] += i + 1 - low
            part[j] += high - j
            change[i + 1] += 1.0
            change[j] -= 1.0
    whole = 0.0
    for index in range(last - first):
        whole += change[index]
        covered = (whole + part[index]) / len(_ROWS)
        if covered > 0:
            yield first + index, covered


def _crossings(points: Points, y: float) -> Iterator[float]:
    for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
        if (y1 <= y) != (y2 <= y):
            yield x1 + (x2 - x1) * (y - y1) / (y2 - y1)
