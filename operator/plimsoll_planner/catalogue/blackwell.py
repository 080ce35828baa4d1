"""NVIDIA Blackwell."""

from plimsoll_planner.accelerator import GB, MIB, TFLOP, Accelerator, Mig, Peaks, Sources, Vendor
from plimsoll_planner.catalogue import sources as at
from plimsoll_planner.catalogue.links import nvlink, pcie

_RACK = 4
"""GPUs of a GB200's or GB300's node; its NVLink goes on to the rack, which a replica does not."""
_MIG = Mig(compute_slices=7, memory_slices=8, sms_per_slice=18, sms=148)
_PRO_MIG = Mig(compute_slices=4, memory_slices=4, sms_per_slice=46, sms=188)

_RTX_PRO = Peaks(
    fp32=120 * TFLOP,
    tf32=250 * TFLOP,
    bf16=500 * TFLOP,
    fp16=500 * TFLOP,
    fp8=1000 * TFLOP,
    int8=1000 * TFLOP,
    fp4=2000 * TFLOP,
)

BLACKWELL = (
    Accelerator(
        "NVIDIA-GeForce-RTX-5090",
        Vendor.NVIDIA,
        memory_bytes=32607 * MIB,
        bandwidth=1792 * GB,
        peaks=Peaks(
            fp32=104.8 * TFLOP,
            tf32=104.8 * TFLOP,
            bf16=209.5 * TFLOP,
            fp16=209.5 * TFLOP,
            fp8=419 * TFLOP,
            int8=838 * TFLOP,
            fp4=1676 * TFLOP,
        ),
        link=pcie(5),
        sources=Sources(at.RTX_5090_SMI, at.RTX_BLACKWELL, at.RTX_BLACKWELL, at.RTX_BLACKWELL),
        aliases=("RTX5090",),
    ),
    Accelerator(
        "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
        Vendor.NVIDIA,
        memory_bytes=97887 * MIB,
        bandwidth=1597 * GB,
        peaks=_RTX_PRO,
        link=pcie(5),
        sources=Sources(at.RTX_PRO_SERVER, at.RTX_PRO_SERVER, at.RTX_PRO_SERVER, at.RTX_PRO_SERVER),
        aliases=("RTX-PRO-6000",),
        mig=_PRO_MIG,
    ),
    Accelerator(
        "NVIDIA-B200",
        Vendor.NVIDIA,
        memory_bytes=183359 * MIB,
        bandwidth=7700 * GB,
        peaks=Peaks(
            fp32=75 * TFLOP,
            tf32=1125 * TFLOP,
            bf16=2250 * TFLOP,
            fp16=2250 * TFLOP,
            fp8=4500 * TFLOP,
            int8=4500 * TFLOP,
            fp4=9000 * TFLOP,
        ),
        link=nvlink(5, links=18),
        sources=Sources(at.B200_DRIVER, at.B200_SYSTEM, at.HGX, at.HGX),
        aliases=("B200-SXM",),
        mig=_MIG,
    ),
    Accelerator(
        "NVIDIA-GB200",
        Vendor.NVIDIA,
        memory_bytes=189471 * MIB,
        bandwidth=8000 * GB,
        peaks=Peaks(
            fp32=80 * TFLOP,
            tf32=1250 * TFLOP,
            bf16=2500 * TFLOP,
            fp16=2500 * TFLOP,
            fp8=5000 * TFLOP,
            int8=5000 * TFLOP,
            fp4=10000 * TFLOP,
        ),
        link=nvlink(5, links=18, joins=_RACK),
        sources=Sources(at.GB200_SYSTEM, at.BLACKWELL, at.BLACKWELL, at.BLACKWELL),
        mig=_MIG,
    ),
    Accelerator(
        "NVIDIA-B300-SXM6-AC",
        Vendor.NVIDIA,
        memory_bytes=275040 * MIB,
        bandwidth=7750 * GB,
        peaks=Peaks(
            fp32=75 * TFLOP,
            tf32=1125 * TFLOP,
            bf16=2250 * TFLOP,
            fp16=2250 * TFLOP,
            fp8=4500 * TFLOP,
            int8=153.5 * TFLOP,
            fp4=14000 * TFLOP,
        ),
        link=nvlink(5, links=18),
        sources=Sources(at.B300_SYSTEM, at.B300_SYSTEM, at.BLACKWELL_ULTRA, at.HGX),
        aliases=("B300", "B300-SXM"),
        mig=_MIG,
    ),
    Accelerator(
        "NVIDIA-GB300",
        Vendor.NVIDIA,
        memory_bytes=284208 * MIB,
        bandwidth=8000 * GB,
        peaks=Peaks(
            fp32=80 * TFLOP,
            tf32=1250 * TFLOP,
            bf16=2500 * TFLOP,
            fp16=2500 * TFLOP,
            fp8=5000 * TFLOP,
            int8=165 * TFLOP,
            fp4=15000 * TFLOP,
        ),
        link=nvlink(5, links=18, joins=_RACK),
        sources=Sources(at.GB300_SYSTEM, at.GB300_SYSTEM, at.BLACKWELL_ULTRA, at.BLACKWELL_ULTRA),
        mig=_MIG,
    ),
)
