"""What was measured, as a page."""

from collections.abc import Sequence

from e2e.quality.measurement import BEGINNING, CONTINUATION, Measured, agreement
from e2e.quality.variants import Variant

Found = Sequence[tuple[Variant, Measured]]


def page(found: Found, python: str, machine: str) -> str:
    """Markdown; everything is compared with the first. `machine` names that of the speeds."""
    tokens, continued = len(found[0][1].logprobs), len(found[0][1].continuations)
    return f"""# Quality

`python -m e2e.quality --write docs/quality.md` made this page: `builtin://tiny` reads {tokens:,}
tokens that it was not trained on (documentation in Python {python}, windows of 256) and goes on
with {continued} of them, {CONTINUATION} tokens after the first {BEGINNING}, greedily. Both go
through the engine as requests do, keys and values through the KV cache in its format.

- *likeliest token*: positions of the text at which it is the same as in the first line.
- *tokens until one differs*: of those written; after it two answers are about different texts.
- *same to the end*: continuations.

{table(found)}
The third line says how much of a difference is rounding alone: the same weights computed in fp32.

## Speed in the same run

On {machine}, in tokens per second: of the text above, and of all
those continuations at once. A model of 3 million parameters says little of larger ones: models of
135M and 0.5B are [beside other engines](benchmarks/peers.md).

{speeds(found)}"""


def table(found: Found) -> str:
    """Of all variants, the figures that do not depend on the machine's speed."""
    first = found[0][1]
    lines = [
        "| `plimsoll serve` with | perplexity | likeliest token | tokens until one differs "
        "| same to the end |",
        "|---|--:|--:|--:|--:|",
    ]
    for variant, one in found:
        same = agreement(first, one)
        lines.append(
            f"| `{variant.serve}` | {one.perplexity:.3f} | {same.positions:.2%} | "
            f"{same.tokens:.1%} | {same.continuations:.1%} |"
        )
    return "\n".join(lines) + "\n"


def speeds(found: Found) -> str:
    """How fast each was on the machine where this runs."""
    lines = ["| `plimsoll serve` with | reads | writes |", "|---|--:|--:|"]
    for variant, one in found:
        lines.append(f"| `{variant.serve}` | {one.read_rate:,.0f} | {one.written_rate:,.0f} |")
    return "\n".join(lines) + "\n"
