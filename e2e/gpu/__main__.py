"""`python -m e2e.gpu`: serves random models in bfloat16 on a device, and says what clients see.

Needs no network and no installation: `PYTHONPATH=operator:runtime:. python -m e2e.gpu` in a
checkout does. Weights are random, so answers mean nothing; speed and memory are those of trained
ones.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from e2e.gpu.serving import Served, command_of
from e2e.measured import random_llama

LLAMA_1B: dict[str, Any] = {
    **random_llama.LLAMA_135M,
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "rope_theta": 500000.0,
    "max_position_embeddings": 8192,
}
LLAMA_8B: dict[str, Any] = {
    **LLAMA_1B,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "head_dim": 128,
    "tie_word_embeddings": False,
}
MODELS = {"135m": random_llama.LLAMA_135M, "1b": LLAMA_1B, "8b": LLAMA_8B}
WORKLOADS = "W1,W2,W3,W4"


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when every model served every request."""
    parser = argparse.ArgumentParser(prog="python -m e2e.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--models", default=",".join(MODELS), help="of %(default)s")
    parser.add_argument("--workloads", default=WORKLOADS, help="of `plimsoll bench` (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder for the figures as JSON")
    given = parser.parse_args(argv)
    if unknown := set(given.models.split(",")) - MODELS.keys():
        parser.error(f"no model {', '.join(unknown)}: there are {', '.join(MODELS)}")
    if given.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device that torch sees: nothing was checked", file=sys.stderr)
        return 1
    print(json.dumps(versions(given.device)), flush=True)
    failed = 0
    for name in given.models.split(","):
        with tempfile.TemporaryDirectory(prefix="plimsoll-gpu-") as folder:
            source = Path(folder) / name
            random_llama.write(MODELS[name], source)
            with Served(source, "--dtype=bfloat16", f"--device={given.device}") as served:
                print(f"\n{name}:\n{served.said}", flush=True)
                command = [*command_of("plimsoll_bench.command"), served.url, f"--label={name}"]
                command += [f"--workload={given.workloads}"]
                if given.output:
                    given.output.mkdir(parents=True, exist_ok=True)
                    command += [f"--save={given.output / name}.json"]
                failed |= subprocess.call(command)
    return failed


def versions(device: str) -> dict[str, str | int]:
    """What the figures depend on."""
    found: dict[str, str | int] = {"python": platform.python_version(), "torch": torch.__version__}
    if device == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["gpu"] = torch.cuda.get_device_name()
        found["gpus"] = torch.cuda.device_count()
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
