"""Drawings as SVG and as PNG, whose pixels are read back."""

import argparse
import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll_operator.drawing.glyphs import rows
from plimsoll_operator.drawing.picture import (
    Clipped,
    Drawing,
    Line,
    Polygon,
    Polyline,
    Shape,
    Words,
)
from plimsoll_operator.drawing.picture_file import picture_path, write_picture
from plimsoll_operator.drawing.png import SCALE, png
from plimsoll_operator.drawing.raster import Raster
from plimsoll_operator.drawing.svg import svg

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def drawn(*shapes: Shape | Clipped, width: int = 40, height: int = 20) -> Drawing:
    return Drawing("ml/chat & others", width, height, shapes)


def pixels(file: bytes) -> list[list[tuple[int, ...]]]:
    """Rows of colours, read as the specification has it, every checksum too."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, header = 8, b"", b""
    while at < len(file):
        (size,) = struct.unpack(">I", file[at : at + 4])
        kind, body = file[at + 4 : at + 8], file[at + 8 : at + 8 + size]
        (check,) = struct.unpack(">I", file[at + 8 + size : at + 12 + size])
        assert check == zlib.crc32(kind + body)
        header, data = (body if kind == b"IHDR" else header), data + body * (kind == b"IDAT")
        at += 12 + size
    width, height, *kinds = struct.unpack(">IIBBBBB", header)
    assert kinds == [8, 2, 0, 0, 0]
    lines, stride = zlib.decompress(data), 1 + 3 * width
    assert len(lines) == height * stride
    found = []
    for row in range(height):
        assert lines[row * stride] == 0
        line = lines[row * stride + 1 : (row + 1) * stride]
        found.append([tuple(line[i : i + 3]) for i in range(0, len(line), 3)])
    return found


def test_nothing_is_white() -> None:
    found = pixels(png(drawn()))
    assert (len(found[0]), len(found)) == (40 * SCALE, 20 * SCALE)
    assert {colour for row in found for colour in row} == {WHITE}


def test_lines_are_where_they_should_be() -> None:
    found = pixels(png(drawn(Line(0, 10, 40, 10, "#ff0000", 2), Line(10, 0, 10, 5, "#0000ff", 2))))
    assert found[10 * SCALE][30 * SCALE] == RED
    assert found[12 * SCALE][30 * SCALE] == WHITE
    assert found[2 * SCALE][10 * SCALE] == BLUE


def test_a_dashed_line_has_gaps() -> None:
    row = pixels(png(drawn(Line(0, 10, 40, 10, "#ff0000", 2, dashed=True))))[10 * SCALE]
    assert row.count(RED) == row.count(WHITE) == 20 * SCALE


def test_what_is_clipped_stays_within() -> None:
    curve = Polyline(((0, 0), (20, 10), (40, 20)), "#ff0000")
    found = pixels(png(drawn(Clipped(10, 0, 10, 20, (curve,)))))
    painted = [x for row in found for x, colour in enumerate(row) if colour != WHITE]
    assert 10 * SCALE <= min(painted) <= max(painted) < 20 * SCALE


def test_an_area_lets_through_what_is_behind() -> None:
    area = Polygon(((0, 0), (40, 0), (40, 20), (0, 20)), "#ff0000", 0.25)
    found = pixels(png(drawn(Line(0, 10, 40, 10, "#0000ff", 2), area)))
    assert found[0][0] == (255, 191, 191)
    assert found[10 * SCALE][0] == (64, 0, 191)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 19), st.floats(1, 19)), min_size=3, max_size=3))
def test_a_triangle_covers_its_area(corners: list[tuple[float, float]]) -> None:
    (ax, ay), (bx, by), (cx, cy) = corners
    area = abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2
    raster = Raster(20, 20)
    raster.fill(corners, "#000000", raster.box)
    painted = sum(255 - value for value in raster.pixels[::3]) / 255
    assert painted == pytest.approx(area, abs=2.5, rel=0.05)


def test_words_are_read_from_left_to_right() -> None:
    found = pixels(png(drawn(Words(2, 18, "L", "#ff0000"))))
    left, foot = 2 * SCALE, 18 * SCALE - 1
    stem = {found[y][left] for y in range(foot - 7 * SCALE + 1, foot + 1)}
    assert stem == {RED}
    assert found[foot][left + 4 * SCALE] == RED
    assert found[foot - 4 * SCALE][left + 4 * SCALE] == WHITE


@pytest.mark.parametrize(("anchor", "left"), [("start", 20), ("middle", 17), ("end", 14)])
def test_words_stand_where_they_are_anchored(anchor: str, left: int) -> None:
    found = pixels(png(drawn(Words(20, 18, "H", "#ff0000", anchor=anchor))))
    painted = [x for row in found for x, colour in enumerate(row) if colour == RED]
    assert min(painted) == left * SCALE


def test_a_halo_keeps_lines_off() -> None:
    line = Line(0, 12, 40, 12, "#0000ff", 20)
    found = pixels(png(drawn(line, Words(2, 18, "I", "#ff0000", halo=True))))
    row = found[15 * SCALE]
    assert RED in row
    assert row[row.index(RED) - 1] == WHITE


def test_every_letter_has_a_shape_of_its_own() -> None:
    shapes = {character: rows(character) for character in map(chr, range(32, 127))}
    assert len(set(shapes.values())) == len(shapes)
    assert {len(each) for each in shapes.values()} <= {7, 9}
    assert rows("\u2603") == rows("\u2604") != rows("?")


def test_svg_is_well_formed_whatever_the_words() -> None:
    root = ET.fromstring(svg(drawn(Words(1, 2, "a < b & c", bold=True))))  # noqa: S314
    tag = "{http://www.w3.org/2000/svg}"
    assert [each.text for each in root.iter(f"{tag}text")] == ["a < b & c"]
    assert root.findtext(f"{tag}title") == "ml/chat & others"


def test_a_file_is_what_its_name_ends_in(tmp_path: Path) -> None:
    for name, begins in (("a.svg", b"<svg "), ("a.PNG", b"\x89PNG")):
        write_picture(picture_path(str(tmp_path / name)), drawn())
        assert (tmp_path / name).read_bytes().startswith(begins)
    with pytest.raises(argparse.ArgumentTypeError, match=r"'a.pdf': give a file that ends in"):
        picture_path("a.pdf")


def test_equal_drawings_are_equal_bytes() -> None:
    shapes = (Words(2, 18, "p95", halo=True), Polyline(((0, 3), (9, 5.5)), "#0072b2"))
    assert png(drawn(*shapes)) == png(drawn(*shapes))
