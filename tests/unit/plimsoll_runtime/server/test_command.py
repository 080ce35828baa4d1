import socket
from pathlib import Path

import pytest

from plimsoll_runtime.server.command import main


def fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says on stderr when it ends with 2."""
    try:
        code = main(argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else -1
    assert code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: MODEL"),
        (["builtin://tiny", "--enforce-eager"], "unrecognized arguments: --enforce-eager"),
        (["builtin://tiny", "--max-num"], "unrecognized arguments: --max-num"),
        (
            ["builtin://tiny", "--tool-call-parser=qwen"],
            "argument --tool-call-parser: invalid choice: 'qwen'",
        ),
        (["builtin://tiny", "--dtype=int4"], "argument --dtype: invalid choice: 'int4'"),
        (["builtin://tiny", "--kv-cache-dtype=fp8"], "'fp8': give one of auto, int8"),
        (["builtin://tiny", "--port=http"], "argument --port: invalid int value: 'http'"),
        (["builtin://tiny", "--max-num-seqs=0"], "max_num_seqs must be at least 1, not 0"),
        (["builtin://tiny", "--tensor-parallel-size=9"], "use at most 8"),
        (["builtin://tiny", "--port=0", "--tensor-parallel-size=3"], "it can be 1, 2, 4, 8"),
        (["builtin://tiny", "--shutdown-timeout=-1"], "--shutdown-timeout must be at least 0"),
        (["builtin://tiny", "--port=70000"], "--port must be 0 to 65535, not 70000"),
        (["builtin://tiny", "--port=0", "--admin-port=-1"], "--admin-port must be 0 to 65535"),
        (["builtin://tiny", "--scheduling-policy=lifo"], "'lifo': give one of fair, priority"),
        (["builtin://tiny", "--tenant-weight=chat"], "'chat' is not NAME=WEIGHT"),
        (["builtin://tiny", "--tenant-weight=chat=0"], "'chat=0' is not NAME=WEIGHT"),
        (["builtin://tiny", "--port=0", "--max-queue-len=0"], "max_queue_len must be at least 1"),
        (["builtin://tiny", "--port=0", "--max-queue-wait=0"], "max_queue_wait must be above 0"),
        (["builtin://tiny", "--port=0", "--api-key-file=no.such"], "no.such cannot be read: No"),
        (["builtin://tiny", "--host=no.such.host.invalid"], "cannot listen on no.such.host"),
        (["builtin://none", "--port=0"], "no builtin model is named 'none'"),
        (["s3://x", "--port=0"], "s3://x: a model is a folder"),
        (["builtin://tiny", "--port=0", "--served-model-name="], "name must not be empty"),
        (["builtin://tiny", "--speculative-config=ngram"], "not valid JSON"),
        (
            [
                *("builtin://tiny", "--port=0", "--speculative-config"),
                '{"method": "draft_model", "model": "no.such", "num_speculative_tokens": 3}',
            ],
            "--speculative-config: draft model: no.such is not a folder",
        ),
        (
            [
                *("builtin://tiny", "--port=0", "--speculative-config"),
                '{"method": "draft_model", "model": "builtin://tiny", "revision": "abc", '
                '"num_speculative_tokens": 3}',
            ],
            "draft model: --revision is for models from hf://, not for builtin://tiny",
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fails(argv, capsys)
    assert message in error
    assert "Traceback" not in error


def test_a_port_in_use_is_told_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = fails(["builtin://none", f"--port={port}"], capsys)
    assert error == (f"plimsoll serve: cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_a_folder_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no config.json" in fails([str(tmp_path), "--port=0"], capsys)
    (tmp_path / "config.json").write_text("{}")
    assert "no tokenizer.json" in fails([str(tmp_path), "--port=0"], capsys)
