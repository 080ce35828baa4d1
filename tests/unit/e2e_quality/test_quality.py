"""Number formats that are offered for speed must not cost what a reader of answers would notice."""

import re
from pathlib import Path

import pytest

from e2e.quality.measurement import Measured, agreement, measure
from e2e.quality.page import speeds, table
from e2e.quality.text import MODEL
from e2e.quality.variants import VARIANTS

PAGE = Path(__file__).parents[3] / "docs" / "quality.md"
# English that the model was not trained on, so that the figures are those of any Python.
LICENSE = Path(__file__).parents[3] / "LICENSE"


def measured(logprobs: tuple[float, ...], likeliest: tuple[int, ...], *said: str) -> Measured:
    return Measured(logprobs, likeliest, tuple(tuple(map(ord, each)) for each in said), 1.0, 1.0)


def test_figures() -> None:
    one = measured((-1.0, -3.0), (5, 6), "same", "abcd")
    other = measured((-2.0, -2.0), (5, 7), "same", "abXd")
    assert one.perplexity == pytest.approx(2.718281828**2)
    found = agreement(one, other)
    assert (found.positions, found.tokens, found.continuations) == (0.5, 0.75, 0.5)
    with pytest.raises(ValueError, match="shorter"):
        agreement(one, measured((-1.0,), (5,), "same", "abcd"))


@pytest.fixture(scope="module")
def text() -> list[list[int]]:
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(LICENSE.read_text()).ids
    return [ids[i : i + 256] for i in range(0, 1024, 256)]


def test_no_variant_is_far_from_the_model_as_published(text: list[list[int]]) -> None:
    published, *others = (measure(MODEL, each.options, text, 4) for each in VARIANTS)
    assert len(published.logprobs) == 4 * 255
    for variant, found in zip(VARIANTS[1:], others, strict=True):
        assert found.perplexity == pytest.approx(published.perplexity, rel=0.01), variant.serve
        assert agreement(published, found).positions > 0.93, variant.serve


def test_the_page_has_quality_and_speed_of_every_variant() -> None:
    text = PAGE.read_text(encoding="utf-8")
    one = [(VARIANTS[0], measured((-1.0,), (1,), "a"))]
    for part in (table(one), speeds(one)):
        header, below, _ = part.splitlines()
        rows = text.partition(f"{header}\n{below}\n")[2].partition("\n\n")[0]
        assert re.findall(r"^\| `(--[^`]*)` \|", rows, re.MULTILINE) == [
            variant.serve for variant in VARIANTS
        ]
