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
_KERNELS = "measured: our kernels on one core of an x86 server with AVX-512 BF16 and VNNI"
_READ = "measured: half of what two of these cores read together"
_RANKS = "measured: our engine's ranks on such cores"

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

# One core of a shared server with AVX-512 BF16 and VNNI and without AMX. Compute is what our
# product kernels reach on it alone (128 and more rows of 576 and 896 inputs), bandwidth half of
# what two such cores read together. By the seconds, and the shares of these peaks in
# `performance.py`, the planner gives what clients of `plimsoll serve --threads 2` measured of
# models of 135M and 0.5B parameters: tests/unit/plimsoll_planner/test_cpu_measured.py.
CPU_CORE = Accelerator(
    CPU,
    Vendor.CPU,
    memory_bytes=0,
    bandwidth=21.5 * GB,
    peaks=Peaks(fp32=0.21 * TFLOP, bf16=0.42 * TFLOP, int8=0.78 * TFLOP),
    link=Link(LinkKind.MEMORY, 0, 1, 2 * GB, 8),
    sources=Sources("what a node has", _READ, _KERNELS, _RANKS),
    resource="cpu",
    step_seconds=5e-4,
    layer_seconds=2e-5,
    sequence_seconds=2e-4,
    request_seconds=0.005,
)
