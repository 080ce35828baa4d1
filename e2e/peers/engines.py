"""All engines by name, ours first."""

from e2e.peers import generate, llama_cpp, openvino, ours, vllm
from e2e.peers.engine import Engine

ENGINES: dict[str, Engine] = {
    each.name: each
    for module in (ours, vllm, openvino, llama_cpp, generate)
    for each in module.engines()
}
