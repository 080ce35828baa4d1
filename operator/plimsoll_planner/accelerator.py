"""What is known of one accelerator product: data-sheet figures, each with its source."""

import math
from dataclasses import dataclass
from enum import Enum

from plimsoll_planner.performance.frontend_time import FrontendTime

MIB = 2**20
GIB = 2**30
GB = 10**9
TFLOP = 10**12
PRECISIONS = ("FP32", "TF32", "BF16", "FP16", "FP8", "INT8", "FP4")


class Vendor(Enum):
    NVIDIA = "NVIDIA"
    AMD = "AMD"
    INTEL = "Intel"
    CPU = "CPU"
    OTHER = "other"


class LinkKind(Enum):
    """How accelerators of one node reach each other."""

    NVLINK = "NVLink"
    XGMI = "Infinity Fabric"
    ROCE = "RoCE"
    PCIE = "PCIe"
    MEMORY = "memory"


@dataclass(frozen=True)
class Link:
    """`bandwidth` is what one accelerator sends to all others together, in bytes/s one way.

    `generation` is that of the kind, 0 where it has none; `lanes` are those of PCIe, or the links
    or ports of the other kinds. `joins` is how many accelerators it reaches at most.
    """

    kind: LinkKind
    generation: int
    lanes: int
    bandwidth: float
    joins: int

    def __str__(self) -> str:
        generation = f" {self.generation}" if self.generation else ""
        return f"{self.kind.value}{generation} ×{self.lanes}"


@dataclass(frozen=True)
class Peaks:
    """Dense peak FLOP/s (integer operations for INT8) by number format; None where not native.

    Of matrix products with FP32 accumulation; FP32 in full precision, so without TF32.
    """

    fp32: float
    tf32: float | None = None
    bf16: float | None = None
    fp16: float | None = None
    fp8: float | None = None
    int8: float | None = None
    fp4: float | None = None

    def of(self, precision: str) -> float | None:
        """The peak in one of PRECISIONS; None where it is not native or not known."""
        return {
            "FP32": self.fp32,
            "TF32": self.tf32,
            "BF16": self.bf16,
            "FP16": self.fp16,
            "FP8": self.fp8,
            "INT8": self.int8,
            "FP4": self.fp4,
        }.get(precision)

    def scaled(self, factor: float) -> "Peaks":
        """All of them times `factor`."""
        fp32, *others = (self.of(name) for name in PRECISIONS)
        rest = [None if peak is None else peak * factor for peak in others]
        return Peaks((fp32 or 0.0) * factor, *rest)


@dataclass(frozen=True)
class Sources:
    """Where each figure is from: a URL, or for `cpu` what was measured.

    `efficiency` is that of the shares of peak that kernels of this product reach, if it has any.
    """

    memory: str
    bandwidth: str
    compute: str
    link: str
    efficiency: str | None = None


@dataclass(frozen=True)
class Mig:
    """How a GPU can be partitioned. `sms` are its streaming multiprocessors."""

    compute_slices: int
    memory_slices: int
    sms_per_slice: int
    sms: int


@dataclass(frozen=True)
class Efficiency:
    """Shares of the peaks that a calibration has measured, or others of kernels on this product;
    None where nothing is known, and what the performance model has for all counts.

    `attention` is of peak compute and `kv_cache` of peak bandwidth, both on `cpu` only: on GPUs
    they follow from `compute` and `bandwidth`. `error` is the median relative error of a
    calibration's step times.
    """

    compute: float | None = None
    bandwidth: float | None = None
    link: float | None = None
    attention: float | None = None
    kv_cache: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Accelerator:
    """One product. `name` is the product as its nodes are labelled, or `cpu`.

    `memory_bytes` is what the driver reports, `bandwidth` in bytes/s. `link` reaches other
    accelerators of the node; None for one that can work with no other, as a MIG slice. `resource`
    is what pods ask for. Prices are per hour, in the person's own currency.

    `step_seconds` is the time of an engine step that neither computes nor reads: scheduling,
    launches, sampling; it grows by `layer_seconds` a layer and `sequence_seconds` a running
    sequence. `request_seconds` pass outside of steps before a first token is sent: HTTP, template,
    tokenization. Where a calibration measured the `frontend` they are what a request waits at least
    that comes alone. For `cpu` all figures are of one core.
    """

    name: str
    vendor: Vendor
    memory_bytes: int
    bandwidth: float
    peaks: Peaks
    link: Link | None
    sources: Sources
    resource: str = "nvidia.com/gpu"
    aliases: tuple[str, ...] = ()
    mig: Mig | None = None
    step_seconds: float = 1.2e-3
    layer_seconds: float = 4.3e-5
    sequence_seconds: float = 2.1e-5
    request_seconds: float = 0.015
    efficiency: Efficiency = Efficiency()
    frontend: FrontendTime | None = None
    price_per_hour: float | None = None
    spot_price_per_hour: float | None = None

    @property
    def link_bandwidth(self) -> float:
        """Bytes/s one way to other accelerators of the node; infinite where it works alone, since
        then nothing is sent."""
        return math.inf if self.link is None else self.link.bandwidth

    @property
    def most_in_replica(self) -> int | None:
        """How many of them one replica may use; None for as many as there are."""
        return 1 if self.link is None else None

    @property
    def precisions(self) -> tuple[str, ...]:
        """Number formats of the engine, which has no FP16, that it computes in; the first is what
        Auto takes."""
        return ("FP32",) if self.peaks.bf16 is None else ("BF16", "FP32")

    def flops(self, precision: str) -> float:
        """Peak FLOP/s in `precision`. Raises ValueError where it is not computed natively."""
        peak = self.peaks.of(precision)
        if peak is None:
            raise ValueError(f"{self.name} does not compute in {precision}; use {self.precisions}")
        return peak
