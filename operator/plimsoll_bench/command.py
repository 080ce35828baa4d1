"""`plimsoll bench`: drives an OpenAI-compatible server; `plimsoll bench compare`: sets results side
by side."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from plimsoll_bench import report
from plimsoll_bench.approach import ApproachError
from plimsoll_bench.comparison import Compared, NotComparableError, compare
from plimsoll_bench.dialect import dialects
from plimsoll_bench.driver import Decode
from plimsoll_bench.exchange import Target, TargetError
from plimsoll_bench.figures import Objectives
from plimsoll_bench.load import Arrivals
from plimsoll_bench.options import compare_parser, parser
from plimsoll_bench.plot import plot
from plimsoll_bench.result import Result, ResultError, Run, load, to_json
from plimsoll_bench.session import Session, bench
from plimsoll_bench.traffic import cut
from plimsoll_bench.wanted import Trace, Wanted, WantedError
from plimsoll_operator.drawing.picture_file import write_picture
from plimsoll_operator.traces.trace_file import TraceError, read_trace

ANSWERED, FAILED, BAD_INPUT, OTHER_WORK, OTHER_ANSWERS = 0, 1, 2, 3, 4


class InputError(Exception):
    """Bad input, in one line."""


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    if argv[:1] == ["compare"]:
        return _compare(compare_parser().parse_args(argv[1:]))
    options = parser().parse_args(argv)
    try:
        for path in (options.save, options.plot):
            if path is not None:
                _check_writable(path)
        result = _bench(options)
    except (InputError, TraceError, TargetError, WantedError, ApproachError, ValueError) as error:
        print(f"plimsoll bench: {error}", file=sys.stderr)
        return BAD_INPUT
    print(to_json(result) if options.output == "json" else report.report(result), end="\n")
    if options.plot:
        try:
            _draw(options.plot, result)
        except InputError as error:
            print(f"plimsoll bench: {error}", file=sys.stderr)
            return BAD_INPUT
    return FAILED if any(run.figures.failed for run in result.runs) else ANSWERED


def _bench(options: argparse.Namespace) -> Result:
    key = options.api_key or os.environ.get("OPENAI_API_KEY")
    target = Target.of(options.url, key, options.cacert)
    text = None if options.prompts is None else options.prompts == "text"
    session = Session(
        options.url,
        target,
        options.label,
        options.model,
        dialects(chat=options.api == "chat", text=text),
        options.token_ids,
        Objectives(options.ttft, options.tpot),
        options.timeout,
        options.wait_idle,
        options.server_pid,
        _decode(options.tokenizer),
        options.extra,
    )

    def ended(result: Result, run: Run) -> None:
        print(report.progress(run), file=sys.stderr, flush=True)
        if options.save:
            _write(options.save, to_json(result))

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(bench(session, _wanted(options), options.ramp, ended))


def _wanted(options: argparse.Namespace) -> Wanted:
    trace = None
    names: tuple[str, ...] = tuple(options.workload.split(","))
    if options.trace is not None:
        requests = read_trace(options.trace, sys.stdin).requests
        name = Path(options.trace).name.partition(".")[0]
        trace = Trace(name, cut(requests, options.shorten, options.max_model_len))
        names = (name,)
    return Wanted(
        names,
        trace,
        None if options.arrivals is None else Arrivals(options.arrivals),
        options.rate,
        options.scale,
        options.concurrency,
        options.requests,
        options.repetitions,
    )


def _decode(folder: Path | None) -> Decode | None:
    if folder is None:
        return None
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"--tokenizer {folder}: there is no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(file))

    def decode(ids: list[int]) -> str:
        text: str = tokenizer.decode(ids, skip_special_tokens=False)
        return text

    return decode


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """uvloop, which computes less of what is measured, where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.Loop


def _check_writable(path: Path) -> None:
    """Before minutes of work for it. Raises InputError."""
    folder = path.parent
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {folder}: make it, or name another")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{path} may not be written: name another file")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _draw(path: Path, result: Result) -> None:
    try:
        write_picture(path, plot(result))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _compare(options: argparse.Namespace) -> int:
    try:
        results = [load(path) for path in options.files]
    except ResultError as error:
        print(f"plimsoll bench compare: {error}", file=sys.stderr)
        return BAD_INPUT
    if len({each.label for each in results}) < len(results):
        results = [
            replace(each, label=path.stem)
            for each, path in zip(results, options.files, strict=True)
        ]
    try:
        compared = compare(results)
    except NotComparableError as error:
        for line in str(error).splitlines():
            print(f"plimsoll bench compare: {line}", file=sys.stderr)
        return OTHER_WORK
    labels = [each.label for each in results]
    if options.output == "json":
        print(json.dumps([_plain(each, labels) for each in compared], indent=1))
    else:
        print(report.comparison(compared, labels))
    if options.equal_answers and any(each.equal_answers != each.answers for each in compared):
        print("plimsoll bench compare: answers differ", file=sys.stderr)
        return OTHER_ANSWERS
    return ANSWERED


def _plain(compared: Compared, labels: Sequence[str]) -> dict[str, object]:
    rows = {
        row.figure.name: {
            "unit": row.figure.unit,
            "medians": dict(zip(labels, row.medians, strict=True)),
            "ratios": dict(zip(labels, row.ratios, strict=True)),
            "verdicts": {label: row.verdict(index) for index, label in enumerate(labels) if index},
        }
        for row in compared.rows
    }
    found = asdict(replace(compared, rows=()))
    return found | {"rows": rows}
