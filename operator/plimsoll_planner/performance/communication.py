"""What the accelerators of a replica tell one another in a step.

Each collective takes a latency and its bytes over the link's reached bandwidth, which is what
NVIDIA's tables of measured kernels (aiconfigurator-core 0.12.0, `custom_allreduce_perf`,
`nccl_perf`, whose message sizes are elements; Apache-2.0) show from 256 bytes to 1 GB: under a
captured graph vLLM's all-reduce of nothing takes 4 to 7 µs on 2 to 8 GPUs of any generation.
Bandwidth is that of a ring's links ("bus bandwidth"): 2·(size - 1)/size of the bytes over the time.
"""

from dataclasses import dataclass

from plimsoll_planner.accelerator import Accelerator, LinkKind

ALL_REDUCE_SECONDS = 7e-6
"""An all-reduce of nothing between GPUs under a captured graph: measured, 4 to 7 µs."""
CPU_ALL_REDUCE_SECONDS = 2.5e-4
"""The same between processes on shared cores, over loopback: gloo with two ranks on two cores."""
ALL_TO_ALL_SECONDS = 3e-5
"""Sending tokens to the ranks of their experts, or back, with nothing to send: DeepEP's
low-latency kernels take 10 to 16 µs each way on 8 H100, its normal ones 25 to 50."""
SWITCH_EFFICIENCY = 0.75
"""Share of the link that an all-reduce reaches where NVSwitch adds up (NVLink 4 and later, SHARP):
fitted with the step times on H100 and H200."""
MESH_EFFICIENCY = 0.62
"""The same where each GPU adds up itself: measured, 0.57 to 0.74 on A100 from 8 MB on."""
PCIE_EFFICIENCY = 0.6
"""The same over PCIe between two GPUs: measured, 0.60 on L40S (19 of 32 GB/s) and on RTX PRO 6000
(39 of 64). More of them share the host's bridges, and hosts differ: measured for 4 and 8, 0.12 and
0.06 on one L40S host and 0.67 and 0.65 on another, 0.47 and 0.38 on RTX PRO 6000. The share of a
bridge that two GPUs fill, as here, lies between."""
PCIE_RANK_SECONDS = 3.1e-6
"""What each GPU adds to an all-reduce of nothing over PCIe: measured, 5.4, 13 and 25 µs for 2, 4
and 8 on L40S and RTX PRO 6000 alike."""
NODE_LINK_BANDWIDTH = 50e9
"""Bytes/s one way between nodes for each GPU: one port of 400 Gbit/s, as HGX and DGX have."""
HOP_SECONDS = 2e-5
"""Handing a step's activations to the next pipeline stage, with nothing to hand over."""
HOST_BANDWIDTH = 64e9
"""Bytes/s one way through the host, PCIe 5.0 ×16, for GPUs that a bridge does not join."""
_SWITCHED = 400e9
"""NVLink 4 and later over switches, 450 GB/s one way and more; a bridge joins fewer GPUs."""
_NODE = 8
_BRIDGED = 2


@dataclass(frozen=True)
class Cost:
    """Seconds of a collective: `fixed + per_byte · bytes`."""

    fixed: float
    per_byte: float


def all_reduce(accelerator: Accelerator, size: int) -> Cost:
    """Of `size` accelerators in one node, by the bytes that each has: a ring moves
    2·(size - 1)/size of them over each link (Patarasuk & Yuan, 2009); nothing for one."""
    if size == 1:
        return Cost(0.0, 0.0)
    latency = ALL_REDUCE_SECONDS
    if _through_host(accelerator, size):
        latency = max(latency, PCIE_RANK_SECONDS * size)
    return Cost(latency, 2 * (size - 1) / size / _reached(accelerator, size))


def all_to_all(accelerator: Accelerator, size: int) -> Cost:
    """By the bytes that each of `size` accelerators sends; a share of 1/size stays."""
    if size == 1:
        return Cost(0.0, 0.0)
    return Cost(ALL_TO_ALL_SECONDS, (size - 1) / size / _reached(accelerator, size))


def hop() -> Cost:
    """From one pipeline stage to the next, on another node."""
    return Cost(HOP_SECONDS, 1 / NODE_LINK_BANDWIDTH)


def _through_host(accelerator: Accelerator, size: int) -> bool:
    """Whether so many of them reach each other over PCIe only."""
    link = accelerator.link
    return link is not None and (link.kind is LinkKind.PCIE or size > link.joins)


def _reached(accelerator: Accelerator, size: int) -> float:
    """Bytes/s that a collective gets out of the link. Raises ValueError where there is none."""
    link = accelerator.link
    if link is None:
        raise ValueError(f"{accelerator.name} has no link to others; use one per replica")
    measured = accelerator.efficiency.link
    bandwidth = link.bandwidth
    if _through_host(accelerator, size):
        bandwidth = min(bandwidth, HOST_BANDWIDTH)
        share = PCIE_EFFICIENCY * min(1.0, _BRIDGED / size)
    elif link.kind is LinkKind.NVLINK and bandwidth >= _SWITCHED and link.joins >= _NODE:
        share = SWITCH_EFFICIENCY
    else:
        share = MESH_EFFICIENCY
    return bandwidth * (share if measured is None else measured)
