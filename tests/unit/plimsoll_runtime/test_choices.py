import argparse
from enum import Enum

import pytest

from plimsoll_runtime.choices import one_of


class Colour(Enum):
    RED = "red"
    SEA_GREEN = "sea-green"


def test_a_value_is_read_by_its_name() -> None:
    assert one_of(Colour)("sea-green") is Colour.SEA_GREEN


@pytest.mark.parametrize("text", ["blue", "RED", ""])
def test_any_other_is_told_with_those_that_there_are(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        one_of(Colour)(text)
    assert str(caught.value) == f"{text!r}: give one of red, sea-green"
