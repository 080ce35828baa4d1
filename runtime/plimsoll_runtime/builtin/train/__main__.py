"""``python -m plimsoll_runtime.builtin.train --out DIR (--steps N | --minutes M) [--seed S]``."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from plimsoll_runtime.builtin.train import batches, dialogue, evaluate, fit, sources, vocabulary
from plimsoll_runtime.builtin.train.card import Report, card
from plimsoll_runtime.builtin.train.export import export
from plimsoll_runtime.builtin.train.facts import facts

log = logging.getLogger("plimsoll_runtime.builtin.train")

_CHAT_SHARE = 0.5
_EVALUATION_WINDOW = 256
_SAMPLE_QUESTIONS = (
    "Who are you?", "Hello!", "What does the json module do?", "What is the os.path module?",
    "What does os.path.join do?", "What does len do?", "Which module has OrderedDict?",
    "What is Plimsoll?",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Train, export, evaluate and write the card; return the exit code."""
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    disable_progress_bar()
    torch.set_num_threads(options.threads)

    corpus = sources.collect(options.stdlib)
    log.info("corpus: %d sources, %d held out, SHA-256 %s",
             len(corpus.train), len(corpus.held_out), corpus.digest())  # fmt: skip
    chats = dialogue.dialogues(facts(corpus.train))
    pools = (chats.hand_written, chats.famous, chats.modules, chats.members)
    texts = [document.text for document in corpus.train]
    tokenizer = vocabulary.train_tokenizer(texts + [t for p in pools for turn in p for t in turn])
    prose = batches.prose_stream(tokenizer, corpus.train)
    log.info("text: %d tokens of prose, %d exchanges", len(prose), sum(map(len, pools)))

    model = fit.new_model(options.seed)
    sampler = batches.Sampler(tokenizer, prose, chats, _CHAT_SHARE, options.seed)
    run = fit.train(model, sampler, fit.Recipe(options.steps, options.minutes, options.seed))
    size = export(model, tokenizer, options.out)

    shipped, tokenizer = evaluate.load(options.out)
    loss = evaluate.held_out(
        shipped, tokenizer, [d.text for d in corpus.held_out], _EVALUATION_WINDOW
    )
    log.info("held-out perplexity %.2f per token, %.3f bits per byte",
             loss.perplexity, loss.bits_per_byte)  # fmt: skip
    length = f"--steps {run.steps}"
    report = Report(
        corpus=corpus,
        run=run,
        command=f"python -m plimsoll_runtime.builtin.train --out DIR {length} "
        f"--seed {options.seed} --threads {options.threads}",
        parameters=sum(p.numel() for p in shipped.parameters()),
        size_bytes=size,
        held_out=loss,
        recall=evaluate.recall(shipped, tokenizer, chats.hand_written),
        samples=[(q, evaluate.answer(shipped, tokenizer, q)[0]) for q in _SAMPLE_QUESTIONS],
    )
    for question, text in report.samples:
        log.info("%s  %s", question, text)
    (options.out / "README.md").write_text(card(report), encoding="utf-8")
    log.info("%d bytes in %s", size, options.out)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m plimsoll_runtime.builtin.train",
        description="Makes builtin://tiny from the Python standard library's documentation.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model into")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=_positive(int), help="optimiser steps of 4096 tokens")
    length.add_argument("--minutes", type=_positive(float), help="training time; not repeatable")
    parser.add_argument(
        "--stdlib", type=Path, help="read the library here, not that of this interpreter"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=_positive(int), default=1, help="CPU threads")
    return parser.parse_args(argv)


class _positive:  # noqa: N801 - argparse prints the name in its message
    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind

    def __call__(self, text: str) -> float:
        value = self._kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not positive; give more than 0")
        return value


if __name__ == "__main__":
    sys.exit(main())
