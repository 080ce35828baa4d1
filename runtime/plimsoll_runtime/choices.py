"""Options of commands that take one of an enumeration."""

import argparse
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound=Enum)


def one_of(kind: type[E]) -> Callable[[str], E]:
    """For argparse's `type`, whose own message says what is wrong and not what there is."""

    def read(text: str) -> E:
        try:
            return kind(text)
        except ValueError as error:
            known = ", ".join(str(each.value) for each in kind)
            raise argparse.ArgumentTypeError(f"{text!r}: give one of {known}") from error

    return read
