"""The catalogue of accelerators: figures of their data sheets, each with its source.

Bandwidth and compute are peaks; `performance.py` holds what share of them is reached. Compute is
dense (without sparsity). Memory is what the driver reports, which is what nodes are labelled with.
"""

import re
from dataclasses import dataclass

CPU = "cpu"
MIB = 2**20
GB = 10**9
TFLOP = 10**12


@dataclass(frozen=True)
class Accelerator:
    """One product. `name` is the value of the node label nvidia.com/gpu.product, or `cpu`.

    `bandwidth` and `link_bandwidth` (one direction, to the other accelerators of a node) in
    bytes/s; `bf16_flops` and `fp32_flops` in FLOP/s, None where the format is not computed
    natively. `step_seconds` is the time of an engine step that neither computes nor reads:
    scheduling, launches, sampling; it grows by `layer_seconds` a layer and `sequence_seconds` a
    running sequence. `request_seconds` pass outside of steps before a first token is sent: HTTP,
    template, tokenization. For `cpu` all figures are of one core.
    """

    name: str
    memory_bytes: int
    bandwidth: float
    bf16_flops: float | None
    fp32_flops: float
    link_bandwidth: float
    source: str
    aliases: tuple[str, ...] = ()
    step_seconds: float = 3.2e-3
    layer_seconds: float = 0.0
    sequence_seconds: float = 2.6e-5
    request_seconds: float = 0.01
    prefers_fp32: bool = False

    @property
    def precisions(self) -> tuple[str, ...]:
        """Number formats it computes in; the first is what Auto takes."""
        if self.bf16_flops is None:
            return ("FP32",)
        return ("FP32", "BF16") if self.prefers_fp32 else ("BF16", "FP32")

    def flops(self, precision: str) -> float:
        """Peak FLOP/s in `precision`. Raises ValueError where it is not computed natively."""
        peak = {"BF16": self.bf16_flops, "FP32": self.fp32_flops}.get(precision)
        if peak is None:
            raise ValueError(f"{self.name} does not compute in {precision}; use {self.precisions}")
        return peak


_NVIDIA = "https://www.nvidia.com"
_SHEETS = f"{_NVIDIA}/content/dam/en-zz/Solutions/Data-Center"
_T4 = f"{_SHEETS}/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_A10 = f"{_SHEETS}/a10/pdf/a10-datasheet.pdf"
_A10G = (
    "https://d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf"
)
_A100 = f"{_SHEETS}/a100/pdf/nvidia-a100-datasheet-nvidia-us-2188504-web.pdf"
_ADA = "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"

PCIE_GEN3_X16 = 16 * GB
PCIE_GEN4_X16 = 32 * GB
PCIE_GEN5_X16 = 64 * GB

CATALOGUE: tuple[Accelerator, ...] = (
    Accelerator("Tesla-T4", 15360 * MIB, 320 * GB, None, 8.1 * TFLOP, PCIE_GEN3_X16, _T4, ("T4",)),
    Accelerator(
        "NVIDIA-A10",
        23028 * MIB,
        600 * GB,
        125 * TFLOP,
        31.2 * TFLOP,
        PCIE_GEN4_X16,
        _A10,
    ),
    Accelerator("NVIDIA-A10G", 23028 * MIB, 600 * GB, 70 * TFLOP, 35 * TFLOP, PCIE_GEN4_X16, _A10G),
    Accelerator(
        "NVIDIA-L4",
        23034 * MIB,
        300 * GB,
        121 * TFLOP,
        30.3 * TFLOP,
        PCIE_GEN4_X16,
        f"{_NVIDIA}/en-us/data-center/l4/",
    ),
    Accelerator(
        "NVIDIA-L40S",
        46068 * MIB,
        864 * GB,
        362 * TFLOP,
        91.6 * TFLOP,
        PCIE_GEN4_X16,
        f"{_NVIDIA}/en-us/data-center/l40s/",
    ),
    Accelerator(
        "NVIDIA-A100-PCIE-40GB",
        40960 * MIB,
        1555 * GB,
        312 * TFLOP,
        19.5 * TFLOP,
        PCIE_GEN4_X16,
        _A100,
        ("A100-PCIE-40GB",),
    ),
    Accelerator(
        "NVIDIA-A100-80GB-PCIe",
        81920 * MIB,
        1935 * GB,
        312 * TFLOP,
        19.5 * TFLOP,
        PCIE_GEN4_X16,
        _A100,
        ("A100-PCIE-80GB", "A100-80GB-PCIE"),
    ),
    Accelerator(
        "NVIDIA-A100-SXM4-40GB",
        40960 * MIB,
        1555 * GB,
        312 * TFLOP,
        19.5 * TFLOP,
        300 * GB,
        _A100,
        ("A100-40GB",),
    ),
    Accelerator(
        "NVIDIA-A100-SXM4-80GB",
        81920 * MIB,
        2039 * GB,
        312 * TFLOP,
        19.5 * TFLOP,
        300 * GB,
        _A100,
        ("A100", "A100-80GB", "A100-SXM"),
    ),
    Accelerator(
        "NVIDIA-H100-PCIe",
        81559 * MIB,
        2000 * GB,
        756 * TFLOP,
        51 * TFLOP,
        PCIE_GEN5_X16,
        f"{_NVIDIA}/en-us/data-center/h100/",
        ("H100-PCIE",),
    ),
    Accelerator(
        "NVIDIA-H100-80GB-HBM3",
        81559 * MIB,
        3350 * GB,
        989 * TFLOP,
        67 * TFLOP,
        450 * GB,
        f"{_NVIDIA}/en-us/data-center/h100/",
        ("H100", "H100-SXM", "H100-SXM5"),
    ),
    Accelerator(
        "NVIDIA-H100-NVL",
        95830 * MIB,
        3900 * GB,
        835 * TFLOP,
        60 * TFLOP,
        300 * GB,
        f"{_NVIDIA}/en-us/data-center/h100/",
        ("H100-NVL-94GB",),
    ),
    Accelerator(
        "NVIDIA-H200",
        143771 * MIB,
        4800 * GB,
        989 * TFLOP,
        67 * TFLOP,
        450 * GB,
        f"{_NVIDIA}/en-us/data-center/h200/",
        ("H200-SXM", "H200-141GB-HBM3E"),
    ),
    Accelerator(
        "NVIDIA-H200-NVL",
        143771 * MIB,
        4800 * GB,
        835 * TFLOP,
        60 * TFLOP,
        450 * GB,
        f"{_NVIDIA}/en-us/data-center/h200/",
    ),
    Accelerator(
        "NVIDIA-B200",
        183359 * MIB,
        8000 * GB,
        2250 * TFLOP,
        75 * TFLOP,
        900 * GB,
        f"{_NVIDIA}/en-us/data-center/dgx-b200/",
        ("B200-SXM",),
    ),
    Accelerator(
        "NVIDIA-GeForce-RTX-4090",
        24564 * MIB,
        1008 * GB,
        165 * TFLOP,
        82.6 * TFLOP,
        PCIE_GEN4_X16,
        _ADA,
        ("RTX-4090", "RTX4090"),
    ),
    # One core of a shared server with AVX-512, and the PyTorch path of our engine: peaks and times
    # fitted to `plimsoll serve builtin://tiny --threads 1` on such a core, over HTTP (1 to 48
    # sequences: 1.1 to 16 ms a token; prompts of 10 to 900 tokens: 4 to 99 ms to the first).
    Accelerator(
        CPU,
        0,
        8 * GB,
        0.04 * TFLOP,
        0.12 * TFLOP,
        2 * GB,
        "our engine on one core of an x86 server",
        step_seconds=5e-4,
        layer_seconds=1e-4,
        sequence_seconds=3.2e-4,
        request_seconds=0.005,
        prefers_fp32=True,
    ),
)


def find(name: str) -> Accelerator | None:
    """The product that a node label or a person calls `name`; None where it is not known.

    Case, the vendor's prefix and the `-SHARED` suffix of time-sliced GPUs make no difference.
    """
    return _INDEX.get(normalized(name))


def same_product(one: str, other: str) -> bool:
    """Whether two names mean the same product, also where the catalogue has none of them."""
    left, right = find(one), find(other)
    if left is None or right is None:
        return normalized(one) == normalized(other)
    return left.name == right.name


def normalized(name: str) -> str:
    """`NVIDIA-H200` → `h200`."""
    text = re.sub(r"[\s_]+", "-", name.strip().lower()).removesuffix("-shared")
    return text.removeprefix("nvidia-").removeprefix("tesla-").removeprefix("geforce-")


_INDEX = {
    normalized(name): accelerator
    for accelerator in CATALOGUE
    for name in (accelerator.name, *accelerator.aliases)
}
