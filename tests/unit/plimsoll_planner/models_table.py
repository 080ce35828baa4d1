"""The tables of docs/models.md. As a program (`python -m`, with this name) it writes them."""

from pathlib import Path

from tests.unit.plimsoll_planner.published import facts, rows

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
_EXPLAINED = {
    "": "",
    "head": "the tied output projection is stored twice",
    "masks": "attention masks are stored",
    "masks rotary": "attention masks and rotary frequencies are stored",
    "rotary": "rotary frequencies are stored",
    "scales": "scales count as parameters",
    "mtp": "a layer that drafts",
    "mtp mtp-index": "a layer that drafts",
    "mtp mtp-embeddings": "a layer that drafts, with embeddings",
    "mtp mtp-embeddings scales mtp-scales": "a layer that drafts, with embeddings; scales",
    "mtp scales mtp-scales": "a layer that drafts; scales",
    "encoder": "an image encoder that the planner does not know",
}


def table() -> str:
    """Markdown, a row for each model in tests/data."""
    lines = [
        "| model | parameters | active | published | difference | because of | weights as "
        "published | KV per token | KV of the longest context |",
        "|---|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for row in rows("models_published.csv"):
        of = facts(row["model"])
        total = int(row["parameters"] or 0)
        difference = "not found" if not total else _difference(of.parameters / total - 1)
        form, longest = of.model.checkpoint.name, of.model.max_position_embeddings
        cells = (
            row["model"],
            f"{of.parameters:,}",
            f"{of.active_parameters / 1e9:.2f}B",
            f"{total:,}" if total else "",
            difference,
            _EXPLAINED[row["also_counted"]],
            f"{form} {of.weights_bytes('Checkpoint') / 1e9:.2f} GB",
            f"{of.kv_bytes_per_token('BF16') / 1024:.4g} KiB",
            f"{of.kv_bytes(longest, 'BF16') / 2**30:.3g} GiB for {longest}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(share: float) -> str:
    return "0" if share == 0 else f"{share:.2%}" if abs(share) >= 5e-5 else "< 0.01%"


def bytes_table() -> str:
    """Markdown, a row for each published size in bytes."""
    lines = ["| model | format | derived | published | difference |", "|---|---|--:|--:|--:|"]
    for row in rows("models_bytes.csv"):
        derived = facts(row["model"]).weights_bytes(row["precision"])
        published = int(row["bytes"])
        kind = "safetensors index" if row["kind"] == "index" else row["precision"] + ", GGUF file"
        cells = (row["model"], kind, f"{derived:,}", f"{published:,}")
        lines.append(f"| {' | '.join(cells)} | {_difference(derived / published - 1)} |")
    return "\n".join(lines) + "\n"


def page_with_tables(page: str) -> str:
    """`page` with what is between its marks replaced."""
    parts = page.split(BEGIN)
    fresh = [parts[0]]
    for part, made in zip(parts[1:], (table(), bytes_table()), strict=True):
        fresh.append(BEGIN + made + END + part.split(END, 1)[1])
    return "".join(fresh)


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
