"""AMD Instinct, Intel Gaudi, and a CPU core."""

from plimsoll_planner.accelerator import (
    GB,
    GIB,
    TFLOP,
    Accelerator,
    Efficiency,
    Link,
    LinkKind,
    Peaks,
    Sources,
    Vendor,
)
from plimsoll_planner.catalogue import sources as at
from plimsoll_planner.catalogue.links import infinity_fabric, pcie, roce

CPU = "cpu"
_AMD = "amd.com/gpu"
_HABANA = "habana.ai/gaudi"
_OURS = "our engine on one core of an x86 server with AVX-512"

_MI300 = Peaks(
    fp32=163.4 * TFLOP,
    tf32=653.7 * TFLOP,
    bf16=1307.4 * TFLOP,
    fp16=1307.4 * TFLOP,
    fp8=2614.9 * TFLOP,
    int8=2614.9 * TFLOP,
)
# Matrix products reach 45 % of peak in FP8, BF16 and FP16, copies 81 % of the bandwidth; the MI325X
# is the same die with other memory.
_MI300_REACHES = Efficiency(compute=0.45, bandwidth=0.81)

INSTINCT = (
    Accelerator(
        "AMD_Instinct_MI210",
        Vendor.AMD,
        memory_bytes=64 * GIB,
        bandwidth=1638.4 * GB,
        peaks=Peaks(fp32=45.3 * TFLOP, bf16=181 * TFLOP, fp16=181 * TFLOP, int8=181 * TFLOP),
        link=pcie(4),
        sources=Sources(at.MI210, at.MI210, at.MI210, at.MI210),
        resource=_AMD,
    ),
    Accelerator(
        "AMD_Instinct_MI250X",
        Vendor.AMD,
        # Each of its two dies is a device of its own to driver, node and pod.
        memory_bytes=64 * GIB,
        bandwidth=1638.4 * GB,
        peaks=Peaks(fp32=47.9 * TFLOP, bf16=191.5 * TFLOP, fp16=191.5 * TFLOP, int8=191.5 * TFLOP),
        link=infinity_fabric(links=4, each=50 * GB),
        sources=Sources(at.MI250X, at.MI250X, at.MI250X, at.MI250X),
        resource=_AMD,
    ),
    Accelerator(
        "AMD_Instinct_MI300X_OAM",
        Vendor.AMD,
        memory_bytes=192 * GIB,
        bandwidth=5300 * GB,
        peaks=_MI300,
        link=infinity_fabric(links=7, each=64 * GB),
        sources=Sources(at.MI300X, at.MI300X, at.MI300X, at.MI300X, at.MI300X_KERNELS),
        resource=_AMD,
        efficiency=_MI300_REACHES,
        aliases=("MI300X",),
    ),
    Accelerator(
        "AMD_Instinct_MI325_OAM",
        Vendor.AMD,
        memory_bytes=256 * GIB,
        bandwidth=6000 * GB,
        peaks=_MI300,
        link=infinity_fabric(links=7, each=64 * GB),
        sources=Sources(at.MI325X, at.MI325X, at.MI325X, at.MI325X, at.MI300X_KERNELS),
        resource=_AMD,
        efficiency=_MI300_REACHES,
        aliases=("MI325X", "MI325X-OAM"),
    ),
    Accelerator(
        "AMD_Instinct_MI355X_OAM",
        Vendor.AMD,
        memory_bytes=288 * GIB,
        bandwidth=8000 * GB,
        peaks=Peaks(
            fp32=157.3 * TFLOP,
            bf16=2516.6 * TFLOP,
            fp16=2516.6 * TFLOP,
            fp8=5033.2 * TFLOP,
            int8=5033.2 * TFLOP,
            fp4=10066.3 * TFLOP,
        ),
        link=infinity_fabric(links=7, each=76.8 * GB),
        sources=Sources(at.MI355X, at.MI355X, at.MI355X, at.MI355X),
        resource=_AMD,
        aliases=("MI355X", "MI355-OAM"),
    ),
)

GAUDI = (
    Accelerator(
        "Gaudi-2",
        Vendor.INTEL,
        memory_bytes=96 * GIB,
        bandwidth=2460 * GB,
        peaks=Peaks(fp32=11 * TFLOP, bf16=432 * TFLOP, fp8=865 * TFLOP),
        link=roce(ports=21, gigabits=100),
        sources=Sources(at.GAUDI, at.GAUDI, at.GAUDI, at.GAUDI_LINKS),
        resource=_HABANA,
        aliases=("Gaudi2", "HL-225", "HL-225H"),
    ),
    Accelerator(
        "Gaudi-3",
        Vendor.INTEL,
        memory_bytes=128 * GIB,
        bandwidth=3670 * GB,
        peaks=Peaks(fp32=14.3 * TFLOP, bf16=1835 * TFLOP, fp8=1835 * TFLOP),
        link=roce(ports=21, gigabits=200),
        sources=Sources(at.GAUDI, at.GAUDI, at.GAUDI, at.GAUDI_LINKS),
        resource=_HABANA,
        aliases=("Gaudi3", "HL-325L", "HL-325"),
    ),
)

# One core of a shared server with AVX-512, and the PyTorch path of our engine: peaks and times
# fitted to `plimsoll serve builtin://tiny --threads 1` on such a core, over HTTP (1 to 48
# sequences: 1.1 to 16 ms a token; prompts of 10 to 900 tokens: 4 to 99 ms to the first). A layer's
# own seconds are those of the kernels that compute all layers in one call: by the old ones of
# 1e-4 no step could be as fast as steps are now, and calibrations found no fit.
CPU_CORE = Accelerator(
    CPU,
    Vendor.CPU,
    memory_bytes=0,
    bandwidth=8 * GB,
    peaks=Peaks(fp32=0.12 * TFLOP, bf16=0.04 * TFLOP),
    link=Link(LinkKind.MEMORY, 0, 1, 2 * GB, 8),
    sources=Sources("what a node has", _OURS, _OURS, _OURS),
    resource="cpu",
    step_seconds=5e-4,
    layer_seconds=1e-5,
    sequence_seconds=3.2e-4,
    request_seconds=0.005,
    prefers_fp32=True,
)
