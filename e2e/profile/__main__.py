"""`python -m e2e.profile`: takes steps of random models apart, into docs/benchmarks.

Needs a processor with the kernels and nothing else to do: two minutes.
"""

import os
import platform
import re
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from e2e.measured import random_llama
from e2e.peers.roofline import Roofline, measure, median_of
from e2e.profile.step import StepTimes, Subject, Work
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.engine.child import engine_environment

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks" / "decode-step.md"
STEPS = (
    Work(1, 128),
    Work(8, 256),
    Work(32, 256),
    Work(1, 1024, prompts=True),
    Work(1, 1024, prompts=True, quantization=Quantization.INT8),
)
NAMES = {
    "qkv_proj": "queries, keys and values",
    "o_proj": "attention's output",
    "gate_up_proj": "gate and up",
    "down_proj": "down",
    "embed_tokens": "logits",
    "paged_attention": "attention, and storing keys and values",
    "rms_norm": "norms",
    "rotate": "rotation",
    "silu_and_mul": "activation",
    "unpack": "embeddings",
    "unpack_int8": "embeddings",
}
HEADER = """# Where the time of a step goes

Made by `python -m e2e.profile`: a Llama of 135M parameters (the shape of SmolLM-135M) with random
weights in bfloat16, {threads} threads of {machine}, torch {torch}, {made}. Medians of 31 steps.
Every call of a kernel is on a clock, layer by layer, summed up over the {layers} layers; a step as
it is served calls all layers at once. *Limit* is what the bytes that must be read take at the
{bandwidth:.0f} GB/s that this machine read in the same minute, or the products at
{flops:.0f} GFLOP/s ({int8_ops:.0f} GOP/s in int8), whichever is more; attention's are left out.
"""


def main() -> None:
    """Writes the page."""
    environment = engine_environment()
    if os.environ.get("OMP_WAIT_POLICY") != environment["OMP_WAIT_POLICY"]:
        # As the engine's process is started; torch has read it when it is imported.
        os.execve(sys.executable, [sys.executable, "-m", "e2e.profile"], environment)  # noqa: S606
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        random_llama.write(random_llama.LLAMA_135M, model)
        rooflines = [measure(threads)]
        found = []
        for work in STEPS:
            found.append(Subject(model, threads, work).times())
            rooflines.append(measure(threads))
    roofline = median_of(rooflines)
    config = random_llama.LLAMA_135M
    text = HEADER.format(
        threads=threads,
        machine=_machine(),
        torch=version("torch"),
        made=_today(),
        layers=config["num_hidden_layers"],
        bandwidth=roofline.bandwidth / 1e9,
        flops=roofline.flops / 1e9,
        int8_ops=roofline.int8_ops / 1e9,
    )
    PAGE.write_text(text + "".join(table(each, roofline) for each in found), encoding="utf-8")
    sys.stdout.write(PAGE.read_text(encoding="utf-8"))


def table(times: StepTimes, roofline: Roofline) -> str:
    """One step's parts, the longest first."""
    work = times.work
    int8 = work.quantization is Quantization.INT8
    limits = (
        (times.weight_bytes + times.cache_bytes) / roofline.bandwidth,
        times.operations / (roofline.int8_ops if int8 else roofline.flops),
    )
    what = "prompt" if work.prompts else "sequence"
    lines = [
        f"\n## {work.sequences} {what}{'s' * (work.sequences > 1)} of {work.context} tokens"
        f"{', int8 weights' * int8}\n",
        "| part | µs | share of the step |",
        "|---|---|---|",
    ]
    parts = sorted(times.parts.items(), key=lambda item: -item[1])
    rows = [(NAMES.get(name, name), seconds) for name, seconds in parts]
    for name, seconds in rows:
        lines.append(f"| {name} | {seconds * 1e6:,.0f} | {seconds / times.whole:.0%} |")
    inside = sum(
        seconds
        for name, seconds in times.parts.items()
        if NAMES.get(name) not in ("logits", "embeddings") and name != "choose tokens"
    )
    rest = (
        times.whole - times.layers - sum(times.parts[n] for n in ("embed_tokens", "choose tokens"))
    )
    whole = times.whole
    lines += [
        f"| **all layers, part by part** | {inside * 1e6:,.0f} | {inside / times.whole:.0%} |",
        f"| **all layers, in one call** | {times.layers * 1e6:,.0f} | {times.layers / whole:.0%} |",
        f"| Python beside them | {rest * 1e6:,.0f} | {rest / times.whole:.0%} |",
        f"| **the step as it is served** | {times.whole * 1e6:,.0f} | 100% |",
        f"| limit | {max(limits) * 1e6:,.0f} | {max(limits) / times.whole:.0%} |",
    ]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"model name\s*: (.*)", info)
    return name[1] if name else platform.machine()


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    main()
