"""A drawing as SVG, written by hand: pictures need no library."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from plimsoll_operator.drawing.picture import (
    INK,
    Clipped,
    Drawing,
    Line,
    Polygon,
    Polyline,
    Shape,
    Words,
)

_SIZE = 12
_HALO = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"'


def svg(drawing: Drawing) -> str:
    """The whole document."""
    width, height = drawing.width, drawing.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="{_SIZE}" fill="{INK}">',
        f"<title>{escape(drawing.title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for shape in drawing.shapes:
        parts += _clipped(shape) if isinstance(shape, Clipped) else [_element(shape)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _clipped(group: Clipped) -> Iterator[str]:
    clip = f"panel{group.left}"
    yield (
        f'<clipPath id="{clip}"><rect x="{group.left}" y="{group.top}" width="{group.width}" '
        f'height="{group.height}"/></clipPath>'
    )
    yield f'<g clip-path="url(#{clip})">'
    yield from map(_element, group.shapes)
    yield "</g>"


def _element(shape: Shape) -> str:
    match shape:
        case Line():
            width = "" if shape.width == 1 else f' stroke-width="{shape.width:g}"'
            dashes = ' stroke-dasharray="4 4"' if shape.dashed else ""
            return (
                f'<line x1="{shape.x1:.1f}" y1="{shape.y1:.1f}" x2="{shape.x2:.1f}" '
                f'y2="{shape.y2:.1f}" stroke="{shape.colour}"{width}{dashes}/>'
            )
        case Polyline():
            return (
                f'<polyline points="{_points(shape)}" fill="none" stroke="{shape.colour}" '
                f'stroke-width="{shape.width:g}" stroke-linejoin="round"/>'
            )
        case Polygon():
            return (
                f'<polygon points="{_points(shape)}" fill="{shape.colour}" '
                f'fill-opacity="{shape.opacity:g}"/>'
            )
        case Words():
            return _text(shape)


def _text(words: Words) -> str:
    more = "" if words.size == _SIZE else f' font-size="{words.size:g}"'
    more += ' font-weight="bold"' if words.bold else ""
    more += "" if words.colour == INK else f' fill="{words.colour}"'
    more += "" if words.anchor == "start" else f' text-anchor="{words.anchor}"'
    more += _HALO if words.halo else ""
    return f'<text x="{words.x:.1f}" y="{words.y:.1f}"{more}>{escape(words.text)}</text>'


def _points(shape: Polyline | Polygon) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
