import socket
from pathlib import Path

import pytest

from plimsoll_runtime.core.fairness import SchedulingPolicy
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.server.command import main, parser


def fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says on stderr when it ends with 2."""
    try:
        code = main(argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else -1
    assert code == 2
    return capsys.readouterr().err


def test_defaults_are_safe() -> None:
    arguments = parser().parse_args(["builtin://tiny"])
    assert (arguments.host, arguments.port) == ("127.0.0.1", 8000)
    assert (arguments.dtype, arguments.kv_cache_dtype, arguments.device) == ("auto",) * 3
    assert arguments.shutdown_timeout == 30
    assert arguments.enable_prefix_caching
    assert parser().parse_args(["x", "--enable-prefix-caching"]).enable_prefix_caching
    assert (arguments.admin_host, arguments.admin_port) == ("127.0.0.1", None)
    assert arguments.scheduling_policy is SchedulingPolicy.FAIR
    assert (arguments.max_queue_len, arguments.max_queue_wait) == (1024, None)


def test_every_option_of_the_contract_is_there() -> None:
    arguments = parser().parse_args(
        [
            *("hf://org/model", "--revision=abc", "--served-model-name=a", "--host=0.0.0.0"),
            *("--port=1", "--api-key=k", "--dtype=float32", "--device=cpu", "--max-model-len=128"),
            *("--max-num-seqs=4", "--max-num-batched-tokens=64", "--kv-cache-memory-bytes=1024"),
            *("--block-size=32", "--gpu-memory-utilization=0.5", "--tensor-parallel-size=1"),
            *("--seed=7", "--shutdown-timeout=3.5", "--threads=2", "--no-enable-prefix-caching"),
            *("--long-prefill-token-threshold=32", "--scheduling-policy=priority"),
            *("--tenant-weight=chat=2", "--tenant-weight=a=b=0.5", "--max-queue-len=9"),
            *("--max-queue-wait=2.5", "--api-key-file=keys", "--admin-host=::1", "--admin-port=2"),
            "--tool-call-parser=hermes",
            '--speculative-config={"method": "ngram", "num_speculative_tokens": 3}',
            "--kv-cache-dtype=int8",
        ]
    )
    assert arguments.speculative_config == SpeculativeConfig(SpeculativeMethod.NGRAM, 3)
    assert arguments.tool_call_parser == "hermes"
    assert arguments.kv_cache_dtype is KVCacheDtype.INT8
    assert arguments.scheduling_policy is SchedulingPolicy.PRIORITY
    assert arguments.tenant_weight == [("chat", 2.0), ("a=b", 0.5)]
    assert (arguments.max_queue_len, arguments.max_queue_wait) == (9, 2.5)
    assert (arguments.admin_host, arguments.admin_port) == ("::1", 2)
    assert (arguments.enable_prefix_caching, arguments.long_prefill_token_threshold) == (False, 32)
    assert arguments.served_model_name == ["a"]
    assert (arguments.kv_cache_memory_bytes, arguments.shutdown_timeout) == (1024, 3.5)


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
        (["builtin://tiny", "--kv-cache-dtype=fp8"], "invalid KVCacheDtype value: 'fp8'"),
        (["builtin://tiny", "--port=http"], "argument --port: invalid int value: 'http'"),
        (["builtin://tiny", "--max-num-seqs=0"], "max_num_seqs must be at least 1, not 0"),
        (["builtin://tiny", "--tensor-parallel-size=9"], "use at most 8"),
        (["builtin://tiny", "--port=0", "--tensor-parallel-size=3"], "it can be 1, 2, 4, 8"),
        (["builtin://tiny", "--shutdown-timeout=-1"], "--shutdown-timeout must be at least 0"),
        (["builtin://tiny", "--port=70000"], "--port must be 0 to 65535, not 70000"),
        (["builtin://tiny", "--port=0", "--admin-port=-1"], "--admin-port must be 0 to 65535"),
        (["builtin://tiny", "--scheduling-policy=lifo"], "invalid SchedulingPolicy value: 'lifo'"),
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
