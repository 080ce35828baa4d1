"""Graphs of a model that attends by the Triton kernel, as a GPU's are but for what captures them:
run by Triton's interpreter, from a program of its own."""

import torch

from plimsoll_runtime.attention import triton_paged
from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.attention.paged import Attention
from plimsoll_runtime.attention.triton_paged import TritonAttention
from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.model_config import ModelConfig
from plimsoll_runtime.engine.decode_graphs import DecodeGraphs
from plimsoll_runtime.engine.runner import ModelRunner
from plimsoll_runtime.model.llama import LlamaForCausalLM
from tests.unit.plimsoll_runtime.engine.graph_steps import Traffic
from tests.unit.plimsoll_runtime.engine.tape import Kernel, TapeRecorder

SIZES = (1, 3)
CONFIG = ModelConfig.from_hf(
    {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 97,
        "eos_token_id": 0,
    }
)
CPU = torch.device("cpu")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def runner_of(model: LlamaForCausalLM) -> ModelRunner:
    cache = KVCache.allocate(model.config, 6, 16, torch.float32, CPU)
    # All but attention as on a GPU.
    runner = ModelRunner(model, cache, CPU, attention_backend=AttentionBackend.TORCH)
    runner._attention = TritonAttention(cache)
    return runner


def check_graphs() -> None:
    torch.manual_seed(0)
    kernel = Kernel(triton_paged.paged_attention)
    triton_paged.paged_attention = kernel
    model = LlamaForCausalLM(CONFIG, 64)
    for weight in model.parameters():
        weight.uniform_(-0.3, 0.3) if weight.dim() > 1 else weight.fill_(1.0)
    plain, graphed = runner_of(model), runner_of(model)

    def attention() -> Attention:
        return TritonAttention(graphed.cache)

    with torch.inference_mode():
        graphs = DecodeGraphs(model, graphed.cache, TapeRecorder(kernel), attention, SIZES)
    graphed.capture(graphs)
    assert graphs.sizes == SIZES, graphs.description
    graphed.cache.pages.zero_()
    traffic = Traffic(plain, graphed, seed=0)
    for length in (15, 17):
        traffic.prompt(length)
    for count in (2, 1):
        traffic.decode(count, close)
