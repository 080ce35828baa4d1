"""From a folder and options to a sized engine."""

import dataclasses
import queue
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM as Oracle

import plimsoll_runtime
from plimsoll_runtime.attention.kv_cache import KVCache, bytes_per_block
from plimsoll_runtime.core.compressed_tensors import CompressedTensors
from plimsoll_runtime.core.kv_cache_dtype import KVCacheDtype
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.core.request import Request, RequestOutput, SamplingParams
from plimsoll_runtime.core.speculation import SpeculativeConfig, SpeculativeMethod
from plimsoll_runtime.core.step import SchedulerOutput
from plimsoll_runtime.engine import loader
from plimsoll_runtime.engine.loader import (
    StepLimits,
    choose_device,
    choose_limits,
    fit_limits,
    load_engine,
)
from plimsoll_runtime.engine.options import EngineOptions
from plimsoll_runtime.engine.precision import (
    choose_dtype,
    choose_kv_cache_dtype,
    choose_quantization,
)
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.model.loader import load_model, read_model_config

CPU = torch.device("cpu")
TINY = Path(plimsoll_runtime.__file__).parent / "builtin" / "tiny"
SHAPE = StepLimits(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=100)


def test_the_cache_is_as_large_as_its_bytes(oracle_and_folder: tuple[Oracle, Path]) -> None:
    folder = oracle_and_folder[1]
    block = bytes_per_block(read_model_config(folder), 16, torch.float32)
    engine = load_engine(
        folder,
        EngineOptions(dtype="float32", device="cpu", kv_cache_memory_bytes=20 * block + 5),
    )
    assert engine.limits.num_blocks == 20
    assert engine.limits.max_model_len == 128
    assert engine.model_config == read_model_config(folder)


def test_int8_holds_more_in_the_same_bytes(oracle_and_folder: tuple[Oracle, Path]) -> None:
    folder = oracle_and_folder[1]
    block = bytes_per_block(read_model_config(folder), 16, torch.float32)
    options = EngineOptions(
        dtype="float32",
        device="cpu",
        kv_cache_dtype=KVCacheDtype.INT8,
        kv_cache_memory_bytes=3 * block,
    )
    # Heads of 8 numbers: 32 bytes, and 12 with their scale.
    assert load_engine(folder, options).limits.num_blocks == 8


def test_int8_is_for_cpu() -> None:
    options = EngineOptions(kv_cache_dtype=KVCacheDtype.INT8)
    assert choose_kv_cache_dtype(options, CPU) is KVCacheDtype.INT8
    with pytest.raises(ValueError, match="int8 is for CPU, and the device is cuda"):
        choose_kv_cache_dtype(options, torch.device("cuda"))


def test_an_open_length_becomes_what_the_cache_holds() -> None:
    options = EngineOptions(kv_cache_memory_bytes=1)
    limits = fit_limits(SHAPE, options, num_blocks=5)
    assert (limits.max_model_len, limits.num_blocks) == (80, 5)


def test_a_length_asked_for_must_fit_the_cache() -> None:
    options = EngineOptions(kv_cache_memory_bytes=1, max_model_len=100)
    with pytest.raises(ValueError, match="80 tokens is smaller than max_model_len 100"):
        fit_limits(SHAPE, options, num_blocks=5)


def test_an_open_cache_is_not_larger_than_of_use() -> None:
    limits = fit_limits(SHAPE, EngineOptions(), num_blocks=10**9)
    assert limits.num_blocks == 4 * (7 + 1)
    asked = fit_limits(SHAPE, EngineOptions(kv_cache_memory_bytes=1), num_blocks=10**6)
    assert asked.num_blocks == 10**6


def test_options_reach_the_limits() -> None:
    plain = fit_limits(SHAPE, EngineOptions(), num_blocks=100)
    assert (plain.enable_prefix_caching, plain.long_prefill_token_threshold) == (True, None)
    options = EngineOptions(enable_prefix_caching=False, long_prefill_token_threshold=5)
    changed = fit_limits(SHAPE, options, num_blocks=100)
    assert (changed.enable_prefix_caching, changed.prefill_share) == (False, 5)


def test_not_one_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not hold one block of 16 tokens"):
        fit_limits(SHAPE, EngineOptions(), num_blocks=0)


def test_open_limits_are_filled_in(oracle_and_folder: tuple[Oracle, Path]) -> None:
    config = read_model_config(oracle_and_folder[1])
    assert choose_limits(EngineOptions(), config, CPU) == StepLimits(32, 512, 128)
    many = EngineOptions(max_num_seqs=1000, max_model_len=64)
    assert choose_limits(many, config, CPU) == StepLimits(1000, 1000, 64)
    few = EngineOptions(max_num_batched_tokens=8)
    assert choose_limits(few, config, CPU) == StepLimits(8, 8, 128)
    with pytest.raises(ValueError, match=r"129 is more than .* max_position_embeddings is 128"):
        choose_limits(EngineOptions(max_model_len=129), config, CPU)


def test_a_cache_too_small_is_told_before_weights_are_read(
    oracle_and_folder: tuple[Oracle, Path], tmp_path: Path
) -> None:
    config = (oracle_and_folder[1] / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match="does not hold one block"):
        load_engine(tmp_path, EngineOptions(device="cpu", kv_cache_memory_bytes=1))


def test_a_cache_beyond_what_is_left_is_told_before_and_after_weights_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free, loads = iter([4 << 20, 32 << 20, 15 << 20, 32 << 20, 16 << 20]), list[int]()

    def count_and_load(*arguments: Any, **named: Any) -> Any:
        loads.append(1)
        return load_model(*arguments, **named)

    monkeypatch.setattr(loader, "free_memory", lambda: next(free))
    monkeypatch.setattr(loader, "load_model", count_and_load)
    options = EngineOptions(device="cpu", kv_cache_memory_bytes=16 << 20)
    for read in (0, 1):
        with pytest.raises(MemoryError, match=r"takes 0.02 GiB, and 0.0\d GiB of memory are left"):
            load_engine(TINY, options)
        assert len(loads) == read
    engine = load_engine(TINY, options)
    assert engine.limits.num_blocks == (16 << 20) // bytes_per_block(
        engine.model_config, 16, torch.bfloat16
    )


def test_the_caches_memory_is_left_for_the_engines_spare_time() -> None:
    engine = load_engine(TINY, EngineOptions(device="cpu", kv_cache_memory_bytes=8 << 20))
    assert engine.spare_work is not None
    engine.start()
    try:
        until = time.monotonic() + 30
        while engine.spare_work is not None:
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        engine.stop()


def test_memory_that_is_not_to_be_had_ends_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> KVCache:
        raise MemoryError("no more")

    monkeypatch.setattr(KVCache, "allocate", refuse)
    for size in (1 << 20, None):
        with pytest.raises(MemoryError, match="no more"):
            load_engine(TINY, EngineOptions(device="cpu", kv_cache_memory_bytes=size))


def test_limits_that_contradict_each_other_are_refused(
    oracle_and_folder: tuple[Oracle, Path],
) -> None:
    options = EngineOptions(device="cpu", max_num_seqs=64, max_num_batched_tokens=32)
    with pytest.raises(ValueError, match="max_num_batched_tokens 32 is smaller than"):
        load_engine(oracle_and_folder[1], options)


@pytest.mark.parametrize(
    ("asked", "checkpoint", "expected"),
    [
        ("auto", "bfloat16", torch.bfloat16),
        ("auto", "float16", torch.bfloat16),
        ("auto", "float32", torch.float32),
        ("float32", "bfloat16", torch.float32),
        ("bfloat16", "float32", torch.bfloat16),
    ],
)
def test_dtype(
    oracle_and_folder: tuple[Oracle, Path], asked: str, checkpoint: str, expected: torch.dtype
) -> None:
    config = dataclasses.replace(read_model_config(oracle_and_folder[1]), dtype=checkpoint)
    assert choose_dtype(asked, config, CPU) is expected


@pytest.mark.parametrize(("major", "expected"), [(7, torch.float32), (8, torch.bfloat16)])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, major: int, expected: torch.dtype
) -> None:
    """A T4 (7.5) emulates it, and says so when asked for any support."""

    class Properties:
        def __init__(self) -> None:
            self.major = major

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties())
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    config = dataclasses.replace(read_model_config(TINY), dtype="float16")
    assert choose_dtype("auto", config, torch.device("cuda", 0)) is expected


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="no CUDA device"):
        choose_device("cuda")


def test_the_builtin_model_answers_as_transformers_does() -> None:
    engine = load_engine(TINY, EngineOptions(dtype="float32", device="cpu", threads=1))
    oracle = Oracle.from_pretrained(TINY, dtype=torch.float32).eval()
    engine.start()
    try:
        for prompt in ([0, 204, 73], list(range(100, 140))):
            outputs: queue.Queue[RequestOutput] = queue.Queue()
            sampling = SamplingParams(max_tokens=24, temperature=0.0)
            engine.submit(Request("a", prompt, sampling, 0.0), outputs.put)
            tokens = [outputs.get(timeout=30).new_token_ids[0] for _ in range(24)]
            expected = prompt.copy()
            with torch.inference_mode():
                for _ in range(24):
                    logits = oracle(torch.tensor([expected])).logits
                    expected.append(int(logits[0, -1].argmax()))
            assert tokens == expected[len(prompt) :]
    finally:
        engine.stop()


@pytest.mark.parametrize("drafts", [None, SpeculativeConfig(SpeculativeMethod.NGRAM, 4)])
def test_the_profiling_step_reaches_the_limits(
    oracle_and_folder: tuple[Oracle, Path], drafts: SpeculativeConfig | None
) -> None:
    options = EngineOptions(device="cpu", dtype="float32", max_num_seqs=3, threads=1)
    engine = load_engine(oracle_and_folder[1], options)
    runner = engine._runner
    assert isinstance(runner, ModelRunner)
    with pytest.MonkeyPatch.context() as patch:
        seen: list[SchedulerOutput] = []
        original = runner.execute
        patch.setattr(runner, "execute", lambda output: (seen.append(output), original(output)))
        runner.profile(engine.limits, drafts)
    (output,) = seen
    assert len(output.scheduled) == 3
    assert output.num_tokens == 2 * (5 if drafts else 1) + 128


def test_int8_weights_are_for_cpu_and_made_once() -> None:
    config = read_model_config(TINY)
    cuda = torch.device("cuda")
    for quantization in Quantization:
        options = EngineOptions(quantization=quantization)
        assert choose_quantization(options, config, CPU) is quantization
    assert choose_quantization(EngineOptions(), config, cuda) is Quantization.NONE
    options = EngineOptions(quantization=Quantization.INT8)
    with pytest.raises(ValueError, match="quantization int8 is for CPU, and the device is cuda"):
        choose_quantization(options, config, cuda)
    quantized = dataclasses.replace(config, compressed=CompressedTensors(False, True))
    assert choose_quantization(EngineOptions(), quantized, CPU) is Quantization.NONE
    with pytest.raises(ValueError, match="this one is in int8 already"):
        choose_quantization(options, quantized, CPU)
    with pytest.raises(ValueError, match="this checkpoint's int8 is for CPU"):
        choose_quantization(EngineOptions(), quantized, cuda)
