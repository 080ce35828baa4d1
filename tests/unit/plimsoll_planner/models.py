"""Published configurations, typed from the config.json of each model on the Hugging Face hub."""

from plimsoll_planner.inputs import AcceleratorPool, Lengths, Objectives, PlanRequest, Workload
from plimsoll_planner.models.model import Model
from plimsoll_planner.models.reader import read_model


def llama(
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    vocabulary: int,
    *,
    tied: bool = False,
    positions: int = 131072,
) -> Model:
    """A configuration of the Llama architecture with the given shape."""
    return read_model(
        {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "vocab_size": vocabulary,
            "max_position_embeddings": positions,
            "tie_word_embeddings": tied,
        }
    )


LLAMA_2_7B = llama(4096, 11008, 32, 32, 32, 128, 32000, positions=4096)
LLAMA_2_13B = llama(5120, 13824, 40, 40, 40, 128, 32000, positions=4096)
LLAMA_2_70B = llama(8192, 28672, 80, 64, 8, 128, 32000, positions=4096)
LLAMA_31_8B = llama(4096, 14336, 32, 32, 8, 128, 128256)
LLAMA_31_70B = llama(8192, 28672, 80, 64, 8, 128, 128256)
LLAMA_31_405B = llama(16384, 53248, 126, 128, 8, 128, 128256)
LLAMA_32_1B = llama(2048, 8192, 16, 32, 8, 64, 128256, tied=True)
LLAMA_32_3B = llama(3072, 8192, 28, 24, 8, 128, 128256, tied=True)
MISTRAL_7B = llama(4096, 14336, 32, 32, 8, 128, 32768, positions=32768)
SMOLLM2_135M = llama(576, 1536, 30, 9, 3, 64, 49152, tied=True, positions=8192)
# Not of the Llama architecture, but the same up to two norms of head_dim a layer.
QWEN3_32B = llama(5120, 25600, 64, 64, 8, 128, 151936, positions=40960)
TINY = llama(192, 512, 6, 8, 4, 32, 2048, tied=True, positions=2048)

CHAT = Workload(4.0, Lengths(500, 1500), Lengths(200, 500))
L4_NODES = AcceleratorPool("NVIDIA-L4", 4, 2)
H200_NODE = AcceleratorPool("NVIDIA-H200", 8, 1)
CPU_NODE = AcceleratorPool("cpu", 2, 1, 16 * 2**30)


def request_for(
    model: Model = LLAMA_31_8B,
    *inventory: AcceleratorPool,
    rate: float = 4.0,
    ttft: float | None = 0.8,
    tpot: float | None = 0.06,
    max_replicas: int = 6,
    context: int | None = 8192,
) -> PlanRequest:
    """A usual request; the inventory is two nodes with four L4 where none is given."""
    return PlanRequest(
        model=model,
        workload=Workload(rate, CHAT.prompt_tokens, CHAT.output_tokens),
        objectives=Objectives(ttft, tpot),
        inventory=inventory or (L4_NODES,),
        max_context_length=context,
        max_replicas=max_replicas,
    )
