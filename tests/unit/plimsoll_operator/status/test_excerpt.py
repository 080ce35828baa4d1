"""Excerpts are short, on one line, and the same for the same thing said again."""

from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.status.excerpt import excerpt


@given(st.text(), st.integers(1, 400))
def test_bounded_and_on_one_line(message: str, limit: int) -> None:
    short = excerpt(message, limit)
    assert len(short) <= limit
    assert len(short.splitlines()) <= 1
    assert "  " not in short


def test_what_is_short_stays() -> None:
    message = 'deployments.apps "chat" is forbidden: exceeded quota: none, used: 3, limited: 3'
    assert excerpt(message) == message


def test_what_differs_each_time_is_left_out() -> None:
    form = "denied at {} as request {}: dial tcp 10.0.0.7:{}->10.96.0.1:443: i/o timeout"
    first = form.format("2026-01-02T03:04:05Z", "0f5b1ad8-1a3d-4a5e-9b7c-0123456789ab", 40122)
    second = form.format(
        "2026-01-02T03:05:06.123+01:00", "ffffffff-1a3d-4a5e-9b7c-0123456789AB", 51877
    )
    assert excerpt(first) == excerpt(second)
    assert "10.96.0.1:443: i/o timeout" in excerpt(first)


def test_lines_are_joined() -> None:
    assert excerpt("one\n\ttwo  three\r\n") == "one two three"
