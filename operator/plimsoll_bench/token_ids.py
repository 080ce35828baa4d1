"""Token ids from a seed, so that every engine is sent the same prompts and none is stored."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_OFFSET = 0xD1B54A32D192ED03


class TokenRange(NamedTuple):
    """Ids from `low` up to but without `high`."""

    low: int = 300
    high: int = 16300


def splitmix64(seed: int) -> Iterator[int]:
    """Endless 64-bit numbers.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. Seeds that
    follow each other begin a multiple of the generator's step plus an offset apart.
    """
    state = (seed * _GOLDEN + _OFFSET) & _MASK
    while True:
        state = (state + _GOLDEN) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        yield mixed ^ (mixed >> 31)


def token_ids(seed: int, count: int, within: TokenRange) -> list[int]:
    """So many ids."""
    width = within.high - within.low
    return [within.low + number % width for number in islice(splitmix64(seed), count)]
