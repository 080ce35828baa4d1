import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_runtime.server.stop_strings import StopMatcher

ALPHABET = "ab<>|"


def run(pieces: list[str], stops: list[str], include: bool = False) -> tuple[str, str | None]:
    matcher = StopMatcher(stops, include)
    text = ""
    for piece in pieces:
        result = matcher.push(piece)
        text += result.text
        if result.matched is not None:
            return text, result.matched
    return text + matcher.flush(), None


def expected(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Reads character by character until a stop string is complete."""
    for end in range(1, len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            longest = max(done, key=len)
            return text[: end - len(longest)], longest
    return text, None


@pytest.mark.parametrize(
    ("pieces", "stops", "text", "matched"),
    [
        (["hello"], [], "hello", None),
        (["one\n", "\ntwo"], ["\n\n"], "one", "\n\n"),
        (["<|e", "n", "d|> more"], ["<|end|>"], "", "<|end|>"),
        (["<|e", "m", "u"], ["<|end|>"], "<|emu", None),
        (["aaab"], ["aab"], "a", "aab"),
        (["abc"], ["bc", "abc"], "", "abc"),
        (["abcd"], ["bcd", "bc"], "a", "bc"),
    ],
)
def test_text_ends_before_the_stop_string(
    pieces: list[str], stops: list[str], text: str, matched: str | None
) -> None:
    assert run(pieces, stops) == (text, matched)


def test_include_keeps_the_stop_string() -> None:
    assert run(["a<", ">b"], ["<>"], include=True) == ("a<>", "<>")


def test_holds_back_only_what_may_become_a_stop_string() -> None:
    matcher = StopMatcher(["END", "EVER"])
    assert matcher.push("THE E").text == "THE "
    assert matcher.push("V").text == ""
    assert matcher.push("IL").text == "EVIL"


@given(
    pieces=st.lists(st.text(ALPHABET, max_size=6), max_size=12),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=4),
)
def test_pieces_do_not_change_the_result(pieces: list[str], stops: list[str]) -> None:
    assert run(pieces, stops) == expected("".join(pieces), stops)


@given(
    pieces=st.lists(st.text(ALPHABET, max_size=6), max_size=12),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_what_was_given_out_never_has_to_be_taken_back(pieces: list[str], stops: list[str]) -> None:
    final, _ = expected("".join(pieces), stops)
    matcher = StopMatcher(stops)
    given_out = ""
    for piece in pieces:
        result = matcher.push(piece)
        given_out += result.text
        assert final.startswith(given_out)
        if result.matched is not None:
            break
